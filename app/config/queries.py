"""SQL of configuration."""

from typing import Any

from app.config.model import TenantSettings, settings_of
from app.db.pool import Connection

_GET = "SELECT bf_control.tenant_settings($1)"


async def get(conn: Connection, tenant_id: str) -> TenantSettings | None:
    """None where the tenant has no configuration; not before the shared schema is installed."""
    row: dict[str, Any] | None = await conn.fetchval(_GET, tenant_id)
    return None if row is None else settings_of(row)
