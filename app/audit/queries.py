"""SQL of the audit trail."""

from collections.abc import Mapping
from typing import Any, Literal

from app.db.pool import Connection

Outcome = Literal["accepted", "succeeded", "failed", "cancelled", "denied"]

_INSERT = """
INSERT INTO bf_control.audit (actor, source_address, request_id, action, target, outcome, before, after)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""


async def insert_all(
    conn: Connection,
    *,
    actor: str,
    source_address: str | None,
    request_id: str | None,
    action: str,
    outcome: Outcome,
    after: Mapping[str, dict[str, Any]],
) -> None:
    """A row for each target of `after`."""
    rows = [(actor, source_address, request_id, action, target, outcome, None, said) for target, said in after.items()]
    await conn.executemany(_INSERT, rows)


async def insert(
    conn: Connection,
    *,
    actor: str,
    source_address: str | None,
    request_id: str | None,
    action: str,
    target: str,
    outcome: Outcome,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> None:
    await conn.execute(_INSERT, actor, source_address, request_id, action, target, outcome, before, after)
