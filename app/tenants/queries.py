"""SQL of provisioning."""

from uuid import UUID

from app.db.pool import Connection
from app.registry.model import Tenant, TenantId
from app.schema import script
from app.schema.script import Target

# One whose purge was tried in vain waits for an hour.
_DUE = """
SELECT t.tenant_id FROM bf_control.tenant t
 WHERE t.state = 'deleted' AND t.purge_time <= now()
   AND NOT EXISTS (SELECT FROM bf_control.operation o
                    WHERE o.tenant_id = t.tenant_id AND o.kind = 'tenant.purge'
                      AND o.created_at > now() - interval '1 hour')
 ORDER BY t.purge_time LIMIT 100
"""
_IS_DUE = """
SELECT t.state = 'deleted' AND t.purge_time <= now()
   AND NOT EXISTS (SELECT FROM bf_control.operation o
                    WHERE o.tenant_id = t.tenant_id AND o.kind = 'tenant.purge'
                      AND o.created_at > now() - interval '1 hour')
  FROM bf_control.tenant t WHERE t.tenant_id = $1
"""
_FORGET = "SELECT bf_control.forget_tenant($1)"
_BURY = """
INSERT INTO bf_control.tenant_tombstone
    (tenant_id, generation, tenant_name, schema_name, backup_id, purged_by, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""


async def setup_tenant(
    conn: Connection, target: Target, tenant_id: TenantId, tenant_name: str, created_by: str
) -> None:
    """What it returns proves nothing: look at the catalogue."""
    await conn.fetchval(script.setup_tenant(target), tenant_id, tenant_name, created_by)


async def due(conn: Connection) -> list[str]:
    """Ids of up to 100 deleted tenants whose time to be purged has come."""
    return [row["tenant_id"] for row in await conn.fetch(_DUE)]


async def is_due(conn: Connection, tenant_id: str) -> bool:
    """Whether it still is, now that it is locked."""
    return bool(await conn.fetchval(_IS_DUE, tenant_id))


async def bury(conn: Connection, tenant: Tenant, *, backup_id: UUID | None, by: str, reason: str | None) -> None:
    """Takes all that is kept of a tenant outside its schema, and leaves a tombstone."""
    await conn.execute(_FORGET, tenant.tenant_id)
    await conn.execute(
        _BURY, tenant.tenant_id, tenant.generation, tenant.tenant_name, tenant.schema_name, backup_id, by, reason
    )
