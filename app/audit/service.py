"""Who did what: one row in the transaction of the change itself."""

from typing import Any

from app.audit import queries
from app.audit.queries import Outcome
from app.db.pool import Connection


async def record(
    conn: Connection,
    *,
    actor: str,
    action: str,
    target: str,
    outcome: Outcome,
    request_id: str | None = None,
    source_address: str | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """`action` is `noun.verb` (tenant.create); `target` names the thing (tenant/acme_corp)."""
    await queries.insert(
        conn,
        actor=actor,
        source_address=source_address,
        request_id=request_id,
        action=action,
        target=target,
        outcome=outcome,
        before=before,
        after=after,
    )
