"""SQL of provisioning."""

from typing import Any

from app.db.pool import Connection
from app.registry.model import TenantId
from app.schema import script
from app.schema.script import Target

_CHECK_CONFIG = """
SELECT bf_control.is_currency($1) AS currency_known, bf_control.is_time_zone($2) AS time_zone_known,
       ARRAY(SELECT d.key FROM jsonb_each($3::jsonb) AS d WHERE bf_control.holds_credentials(d.value)) AS credentials
"""


async def setup_tenant(
    conn: Connection, target: Target, tenant_id: TenantId, tenant_name: str, created_by: str
) -> None:
    """What it returns proves nothing: look at the catalogue."""
    await conn.fetchval(script.setup_tenant(target), tenant_id, tenant_name, created_by)


async def check_config(
    conn: Connection, *, currency: str, time_zone: str, config: dict[str, Any]
) -> tuple[bool, bool, list[str]]:
    """Whether the currency and the time zone are known, and which columns of `config` hold credentials."""
    row: Any = await conn.fetchrow(_CHECK_CONFIG, currency, time_zone, config)
    return row["currency_known"], row["time_zone_known"], row["credentials"]
