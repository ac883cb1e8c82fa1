"""SQL of the versions that a tenant's row of tenant_config had."""

from typing import Any

import asyncpg
from asyncpg import Record

from app.config.model import Version, differences
from app.config.queries import Refused
from app.db.pool import Connection
from app.registry.model import TenantId

# The newest first. An id may have had another tenant before: its versions are nobody's to see. $2 the last key of
# the page before, $3 how many.
_PAGE = """
SELECT h.id, h.version, h.changed_at, h.database_user, h.user_context, h.source, h.documents, h.reason,
       h.restored_version, d.before, d.after
  FROM bf_control.tenant_config_history h
 CROSS JOIN LATERAL (
           SELECT coalesce(jsonb_object_agg(k.name, bf_control.presentable(k.name, h.before -> k.name))
                               FILTER (WHERE h.before ? k.name), '{}') AS before,
                  coalesce(jsonb_object_agg(k.name, bf_control.presentable(k.name, h.after -> k.name))
                               FILTER (WHERE h.after ? k.name), '{}') AS after
             FROM jsonb_object_keys(coalesce(h.before, '{}') || h.after) AS k(name)
            WHERE h.before -> k.name IS DISTINCT FROM h.after -> k.name) AS d
 WHERE h.tenant_id = $1 AND h.id < coalesce($2::bigint, 9223372036854775807)
   AND h.id >= (SELECT coalesce(max(m.id), 0) FROM bf_control.tenant_config_history m
                 WHERE m.tenant_id = $1 AND m.before IS NULL)
 ORDER BY h.id DESC LIMIT $3
"""
_FIND = """
SELECT h.id, h.after ->> 'subscription_tier' AS tier,
       ARRAY(SELECT jsonb_array_elements_text(h.after -> 'features_enabled')) AS features
  FROM bf_control.tenant_config_history h
 WHERE h.tenant_id = $1 AND h.version = $2
   AND h.id >= (SELECT coalesce(max(m.id), 0) FROM bf_control.tenant_config_history m
                 WHERE m.tenant_id = $1 AND m.before IS NULL)
"""
# All columns that a tenant's administrators may set. What the state decides, change_config() passes over.
_RESTORE = """
SELECT bf_control.change_config($1, h.after)
  FROM (SELECT set_config('bf.source', 'api', true), set_config('app.current_user_id', left($3, 36), true),
               set_config('bf.restored_version', $4, true), set_config('bf.reason', $5, true)) AS context,
       bf_control.tenant_config_history h
 WHERE h.tenant_id = $1 AND h.id = $2
"""


async def page(conn: Connection, tenant_id: TenantId, *, before: int | None, limit: int) -> list[Version]:
    """Up to `limit` versions older than the one with the key `before`; the newest first."""
    return [_version(row) for row in await conn.fetch(_PAGE, tenant_id, before, limit)]


async def find(conn: Connection, tenant_id: TenantId, version: int) -> tuple[int, str, list[str]] | None:
    """The key of a version, its tier and its enabled features; None where there is no such version."""
    row: Any = await conn.fetchrow(_FIND, tenant_id, version)
    return None if row is None else (row["id"], row["tier"], row["features"])


async def restore(
    conn: Connection, tenant_id: TenantId, key: int, *, version: int, reason: str | None, actor: str
) -> bool:
    """Makes the row what it was. Whether anything is different now. Raises Refused."""
    try:
        return bool(await conn.fetchval(_RESTORE, tenant_id, key, actor, str(version), reason or ""))
    except asyncpg.CheckViolationError as error:
        raise Refused from error


def _version(row: Record) -> Version:
    return Version(
        key=row["id"],
        version=row["version"],
        changed_at=row["changed_at"],
        database_user=row["database_user"],
        user_context=row["user_context"],
        source=row["source"],
        documents=row["documents"],
        reason=row["reason"],
        restored_version=row["restored_version"],
        difference=tuple(differences(row["before"], row["after"])),
    )
