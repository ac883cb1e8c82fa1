"""Many creations in one request, each with its own outcome."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

from pydantic import ValidationError

from app.audit.model import Origin
from app.db.pool import Connection
from app.errors import AppError, Conflict, Invalid, NotFound
from app.http import problem
from app.integrations.request import Rules
from app.jobs import queue
from app.registry.model import TenantRequest
from app.schema import service as schema
from app.tenants import service
from app.tenants.schemas import TenantIn

# What is one tenant's fault; anything else is the whole request's.
_OWN: Final = (Invalid, Conflict, NotFound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Of the item at place `index`: the operation that makes the tenant, or a problem (RFC 9457)."""

    index: int
    tenant_id: str | None
    operation_id: UUID | None = None
    problem: dict[str, Any] | None = None


async def request_all(
    conn: Connection, items: Sequence[object], *, origin: Origin, caller: str, integrations: Rules
) -> list[Outcome]:
    """Stores what can be stored, in the caller's transaction, and says of each item what became of it, in order.

    A savepoint each, so that one that is refused takes nothing along; in the order of the ids, so that two batches
    never wait for each other. Raises as service.request_provisioning() does where it is no one tenant's fault.
    """
    await schema.require_accepting(conn)
    outcomes: dict[int, Outcome] = {}
    requests: list[tuple[int, TenantRequest]] = []
    for index, item in enumerate(items):
        try:
            requests.append((index, _read(item, caller=caller, integrations=integrations)))
        except _OWN as error:
            outcomes[index] = _refused(index, _id_of(item), error, f"/tenants/{index}")
    for index, request in sorted(requests, key=lambda indexed: indexed[1].tenant_id):
        operation_id = uuid4()
        try:
            async with conn.transaction():
                await service.request_provisioning(
                    conn, request, operation_id=operation_id, origin=origin, queued=False
                )
        except _OWN as error:
            outcomes[index] = _refused(index, request.tenant_id, error, f"/tenants/{index}")
        else:
            outcomes[index] = Outcome(index=index, tenant_id=request.tenant_id, operation_id=operation_id)
    # All at once: one by one it would be most of the work.
    await queue.enqueue_all(conn, [done.operation_id for done in outcomes.values() if done.operation_id is not None])
    return [outcomes[index] for index in range(len(items))]


def _read(item: object, *, caller: str, integrations: Rules) -> TenantRequest:
    """Raises Invalid, with pointers into the item, and NoSecretKeys."""
    try:
        body = TenantIn.model_validate(item)
    except ValidationError as error:
        raise Invalid("The request is not valid; see errors.", errors=problem.faults(error.errors())) from None
    return body.request(body.tenant_id, caller=caller, integrations=integrations)


def _id_of(item: object) -> str | None:
    named = item.get("tenant_id") if isinstance(item, Mapping) else None
    # No answer can hold half a surrogate pair.
    return named[:100].encode(errors="replace").decode() if isinstance(named, str) else None


def _refused(index: int, tenant_id: str | None, error: AppError, place: str) -> Outcome:
    return Outcome(index=index, tenant_id=tenant_id, problem=problem.document(error, place=place))
