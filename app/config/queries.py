"""SQL of configuration: the row of tenant_config as it is."""

from typing import Any

import asyncpg

from app.config.model import TenantSettings, settings_of
from app.db.pool import Connection
from app.registry.model import TenantId

_GET = "SELECT bf_control.tenant_settings($1)"
_GET_ALL = """
SELECT t.tenant_id, bf_control.tenant_settings(t.tenant_id) AS settings
  FROM bf_control.tenant t WHERE t.tenant_id = ANY ($1::text[])
"""
# In one statement: whether there is a tenant, and what it has once it has a schema.
_READ = """
SELECT CASE WHEN t.schema_version IS NOT NULL THEN bf_control.tenant_settings(t.tenant_id) END AS settings
  FROM bf_control.tenant t WHERE t.tenant_id = $1
"""
# With the context, what the history of tenant_config says of the change. $4 are merge patches of columns.
_CHANGE = """
SELECT bf_control.change_config($1, $3::jsonb || coalesce(
           (SELECT jsonb_object_agg(p.key, bf_control.merge_patch(context.settings -> p.key, p.value))
              FROM jsonb_each($4::jsonb) AS p), '{}'))
  FROM (SELECT set_config('bf.source', 'api', true), set_config('app.current_user_id', left($2, 36), true),
               bf_control.tenant_settings($1) AS settings) AS context
"""
_CHECK = """
SELECT $1::text IS NULL OR bf_control.is_currency($1) AS currency_known,
       $2::text IS NULL OR bf_control.is_time_zone($2) AS time_zone_known,
       ARRAY(SELECT d.key FROM jsonb_each($3::jsonb) AS d WHERE bf_control.holds_credentials(d.value)) AS credentials
"""


class Refused(Exception):
    """The table does not take such a row; nothing more can be done in this transaction."""


async def get(conn: Connection, tenant_id: str) -> TenantSettings | None:
    """None where the tenant has no configuration; not before the shared schema is installed."""
    row: dict[str, Any] | None = await conn.fetchval(_GET, tenant_id)
    return None if row is None else settings_of(row)


async def get_all(conn: Connection, tenant_ids: list[str]) -> dict[str, tuple[list[str], TenantSettings]]:
    """The enabled features, and the rest, of those that have a configuration."""
    rows = await conn.fetch(_GET_ALL, tenant_ids)
    found = {row["tenant_id"]: row["settings"] for row in rows if row["settings"] is not None}
    return {name: (sorted(settings["features_enabled"]), settings_of(settings)) for name, settings in found.items()}


async def read(conn: Connection, tenant_id: TenantId) -> tuple[bool, TenantSettings | None]:
    """Whether there is such a tenant, and its settings; None until it has a schema."""
    row = await conn.fetchrow(_READ, tenant_id)
    if row is None or row["settings"] is None:
        return row is not None, None
    return True, settings_of(row["settings"])


async def change(
    conn: Connection, tenant_id: TenantId, *, replaced: dict[str, Any], merged: dict[str, Any], actor: str
) -> bool:
    """Sets the columns of `replaced`, and merges those of `merged`, objects, into what is there.

    Whether anything is different now. Raises Refused.
    """
    try:
        return bool(await conn.fetchval(_CHANGE, tenant_id, actor, replaced, merged))
    except asyncpg.CheckViolationError as error:
        raise Refused from error


async def check(
    conn: Connection, *, currency: str | None, time_zone: str | None, values: dict[str, Any]
) -> tuple[bool, bool, list[str]]:
    """Whether the currency and the time zone are known, where there are any, and which `values` hold credentials."""
    row: Any = await conn.fetchrow(_CHECK, currency, time_zone, values)
    return row["currency_known"], row["time_zone_known"], row["credentials"]
