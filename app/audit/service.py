"""Who did what: one row in the transaction of the change itself."""

from collections.abc import Mapping
from typing import Any

from app.audit import queries
from app.audit.model import Origin
from app.audit.queries import Outcome
from app.db.pool import Connection


async def record(
    conn: Connection,
    origin: Origin,
    *,
    action: str,
    target: str,
    outcome: Outcome,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """`action` is `noun.verb` (tenant.create); `target` names the thing (tenant/acme_corp)."""
    await queries.insert(
        conn,
        actor=origin.actor,
        source_address=origin.source_address,
        request_id=origin.request_id,
        action=action,
        target=target,
        outcome=outcome,
        before=before,
        after=after,
    )


async def record_all(
    conn: Connection, origin: Origin, *, action: str, outcome: Outcome, after: Mapping[str, dict[str, Any]]
) -> None:
    """The same of many, by target."""
    await queries.insert_all(
        conn,
        actor=origin.actor,
        source_address=origin.source_address,
        request_id=origin.request_id,
        action=action,
        outcome=outcome,
        after=after,
    )
