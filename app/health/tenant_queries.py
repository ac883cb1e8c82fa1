"""SQL of what is known of one tenant: rows by their keys."""

from typing import Any

from app.db.pool import Connection
from app.health.tenant_model import Verified
from app.operations.model import Operation
from app.operations.queries import operation_of

_VERIFIED = "SELECT verified_at, drift FROM bf_control.verification WHERE tenant_id = $1"
_FAULTS = """
SELECT f.value ->> 'reason' AS reason
  FROM bf_control.isolation_check i CROSS JOIN LATERAL jsonb_array_elements(i.faults) AS f(value)
 WHERE f.value ->> 'tenant_id' = $1 AND f.value ->> 'kind' <> 'tenant_role'
"""
_NEWEST = """
SELECT id, kind, tenant_id, status, created_at, started_at, finished_at, attempts, parameters, progress, steps,
       result, error, actor, role, source_address, request_id, traceparent, cancel_requested_at, retry_of
  FROM bf_control.operation WHERE tenant_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1
"""


async def verified(conn: Connection, tenant_id: str) -> Verified | None:
    """None of a tenant that nobody has verified since it was made."""
    row = await conn.fetchrow(_VERIFIED, tenant_id)
    return None if row is None else Verified(**dict(row))


async def faults(conn: Connection, tenant_id: str) -> tuple[str, ...]:
    """What the last isolation check found of it, where somebody may reach what is not theirs."""
    return tuple(row["reason"] for row in await conn.fetch(_FAULTS, tenant_id))


async def newest_operation(conn: Connection, tenant_id: str) -> Operation | None:
    """Whatever was done with the tenant last."""
    row: Any = await conn.fetchrow(_NEWEST, tenant_id)
    return None if row is None else operation_of(row)
