"""SQL of provisioning."""

from app.db.pool import Connection
from app.registry.model import TenantId
from app.schema import script
from app.schema.script import Target


async def setup_tenant(
    conn: Connection, target: Target, tenant_id: TenantId, tenant_name: str, created_by: str
) -> None:
    """What it returns proves nothing: look at the catalogue."""
    await conn.fetchval(script.setup_tenant(target), tenant_id, tenant_name, created_by)
