"""SQL of verification and repair."""

from typing import Any

from app.db.pool import Connection
from app.operations.model import Kind, Operation
from app.operations.queries import operation_of

# Locked by whoever asks, as the tenant is: two requests for one repair meet here.
_UNFINISHED = """
SELECT id, kind, tenant_id, status, created_at, started_at, finished_at, attempts, parameters, progress, steps,
       result, error, actor, role, source_address, request_id, traceparent, cancel_requested_at, retry_of
  FROM bf_control.operation
 WHERE tenant_id = $1 AND kind = $2 AND status IN ('queued', 'running') ORDER BY created_at LIMIT 1
"""
_KEEP = """
INSERT INTO bf_control.verification (tenant_id, schema_version, fingerprint, drift)
SELECT t.tenant_id, $2, $3, $4 FROM bf_control.tenant t WHERE t.tenant_id = $1
    ON CONFLICT (tenant_id) DO UPDATE
   SET schema_version = EXCLUDED.schema_version, verified_at = clock_timestamp(),
       fingerprint = EXCLUDED.fingerprint, drift = EXCLUDED.drift
"""
_BUILT = """
SELECT tenant_id FROM bf_control.tenant WHERE schema_version IS NOT NULL AND state = ANY ($1::text[]) ORDER BY tenant_id
"""


async def unfinished(conn: Connection, tenant_id: str, kind: Kind) -> Operation | None:
    """The tenant's operation of that kind that is queued or running."""
    row = await conn.fetchrow(_UNFINISHED, tenant_id, kind)
    return None if row is None else operation_of(row)


async def keep(
    conn: Connection, tenant_id: str, *, version: int, fingerprint: str, drift: dict[str, Any] | None
) -> None:
    """What was found last; nothing of a tenant that has gone meanwhile."""
    await conn.execute(_KEEP, tenant_id, version, fingerprint, drift)


async def built(conn: Connection, states: list[str]) -> list[str]:
    """Ids of all tenants with a schema that are in one of the states."""
    return [row["tenant_id"] for row in await conn.fetch(_BUILT, states)]
