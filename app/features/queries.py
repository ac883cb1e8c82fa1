"""SQL of the features of tenants."""

from asyncpg import Record

from app.db.pool import Connection
from app.features.model import TenantFeature

_OF_TENANT = "SELECT name, enabled, source, known, requires FROM bf_control.tenant_features($1)"
# With the context, what the history of tenant_config says of the change.
_SET = """
SELECT bf_control.set_feature($1, $2, $3)
  FROM (SELECT set_config('bf.source', 'api', true), set_config('app.current_user_id', left($4, 36), true)) AS context
"""


async def of_tenant(conn: Connection, tenant_id: str) -> list[TenantFeature]:
    """By name: all of the catalogue's, and those that this tenant alone has."""
    return [_feature(row) for row in await conn.fetch(_OF_TENANT, tenant_id)]


async def set_feature(conn: Connection, tenant_id: str, name: str, *, enabled: bool | None, actor: str) -> None:
    """The tenant's own from now on; None: the tier, or the default, decides again. Its tenant_config is locked."""
    await conn.execute(_SET, tenant_id, name, enabled, actor)


def _feature(row: Record) -> TenantFeature:
    return TenantFeature(**{**row, "requires": tuple(row["requires"])})
