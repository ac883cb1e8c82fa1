"""Many creations in one request, each with its own outcome."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

from pydantic import ValidationError

from app.audit.model import Origin
from app.db.pool import Connection
from app.errors import AppError, Conflict, Invalid, NotFound
from app.http import problem, statuses
from app.integrations.request import Rules
from app.registry import queries as registry
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

    In the order of the ids, so that two batches never wait for each other. Raises as service.request_provisioning()
    does where it is no one tenant's fault.
    """
    await schema.require_accepting(conn)
    outcomes: dict[int, Outcome] = {}
    requests: dict[int, TenantRequest] = {}
    for index, item in enumerate(items):
        try:
            requests[index] = _read(item, caller=caller, integrations=integrations)
            await service.check(conn, requests[index])
        except _OWN as error:
            requests.pop(index, None)
            outcomes[index] = _refused(index, _id_of(item), error)
    order = sorted(requests, key=lambda index: requests[index].tenant_id)
    outcomes |= await _new(conn, {index: requests[index] for index in order}, origin=origin)
    for index in order:
        if index not in outcomes:
            outcomes[index] = await _one(conn, index, requests[index], origin=origin)
    return [outcomes[index] for index in range(len(items))]


async def _new(conn: Connection, requests: dict[int, TenantRequest], *, origin: Origin) -> dict[int, Outcome]:
    """All that nobody has, and of those with the same id the first: five hundred take little more than ten.

    Those with secrets are left: each of these is a row of its own.
    """
    requests = {index: request for index, request in requests.items() if not request.secrets}
    taken = await registry.taken(conn, [request.tenant_id for request in requests.values()])
    first = {request.tenant_id: index for index, request in reversed(requests.items())}
    new = {index: uuid4() for index, r in requests.items() if r.tenant_id not in taken and first[r.tenant_id] == index}
    stored = {operation_id: requests[index] for index, operation_id in new.items()}
    if not stored or not await service.request_all_new(conn, stored, origin=origin):
        return {}
    return {
        index: Outcome(index=index, tenant_id=requests[index].tenant_id, operation_id=operation_id)
        for index, operation_id in new.items()
    }


async def _one(conn: Connection, index: int, request: TenantRequest, *, origin: Origin) -> Outcome:
    """A savepoint of its own: what is refused takes nothing along."""
    operation_id = uuid4()
    try:
        async with conn.transaction():
            await service.request_provisioning(conn, request, operation_id=operation_id, origin=origin)
    except _OWN as error:
        return _refused(index, request.tenant_id, error)
    return Outcome(index=index, tenant_id=request.tenant_id, operation_id=operation_id)


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


def _refused(index: int, tenant_id: str | None, error: AppError) -> Outcome:
    return Outcome(index=index, tenant_id=tenant_id, problem=statuses.document(error, place=f"/tenants/{index}"))
