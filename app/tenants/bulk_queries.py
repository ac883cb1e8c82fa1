"""SQL of changes of many tenants."""

from typing import Any
from uuid import UUID

from app.db.pool import Connection
from app.registry.service import TenantFilter
from app.tenants.bulk_model import Status, Target

# As lists filter, over all rows at once: $1 state, $2 tier, $3 part of id or name, $4 a feature, $5 a schema version.
_FITTING = """
SELECT tenant_id FROM bf_control.tenant
 WHERE CASE WHEN $1::text IS NULL THEN state <> 'deleted' ELSE state = $1 END
   AND ($2::text IS NULL OR subscription_tier = $2)
   AND ($3::text IS NULL OR strpos(tenant_id || E'\\n' || lower(tenant_name), lower($3)) > 0)
   AND ($4::text IS NULL OR features @> ARRAY[$4::text])
   AND ($5::integer IS NULL OR schema_version = $5)
 ORDER BY tenant_id
"""
_ADD = """
INSERT INTO bf_control.change_target (operation_id, tenant_id) SELECT $1, unnest($2::text[])
"""
# What another operation has left, or was refused.
_ADD_LEFT = """
INSERT INTO bf_control.change_target (operation_id, tenant_id)
SELECT $1, o.tenant_id FROM bf_control.change_target o
 WHERE o.operation_id = $2 AND o.status IN ('pending', 'refused')
"""
_PENDING = """
SELECT tenant_id FROM bf_control.change_target
 WHERE operation_id = $1 AND status = 'pending' AND tenant_id > $2 ORDER BY tenant_id LIMIT 500
"""
_SETTLE = """
UPDATE bf_control.change_target SET status = $3, problem = $4
 WHERE operation_id = $1 AND tenant_id = $2 AND status = 'pending'
"""
_COUNTS = """
SELECT status, count(*) AS tenants FROM bf_control.change_target WHERE operation_id = $1 GROUP BY status
"""
_PAGE = """
SELECT tenant_id, status, problem FROM bf_control.change_target
 WHERE operation_id = $1 AND ($2::text IS NULL OR status = $2) AND tenant_id > $3 ORDER BY tenant_id LIMIT $4
"""


async def fitting(conn: Connection, wanted: TenantFilter) -> list[str]:
    """The ids of all tenants that fit the filter, in order."""
    rows = await conn.fetch(_FITTING, wanted.state, wanted.tier, wanted.contains, wanted.feature, wanted.schema_version)
    return [row["tenant_id"] for row in rows]


async def add(conn: Connection, operation_id: UUID, tenant_ids: list[str]) -> None:
    await conn.execute(_ADD, operation_id, tenant_ids)


async def add_left(conn: Connection, operation_id: UUID, *, of: UUID) -> None:
    """What the operation `of` has not come to, and what it was refused."""
    await conn.execute(_ADD_LEFT, operation_id, of)


async def pending(conn: Connection, operation_id: UUID, *, after: str) -> list[str]:
    return [row["tenant_id"] for row in await conn.fetch(_PENDING, operation_id, after)]


async def settle(conn: Connection, operation_id: UUID, target: Target) -> None:
    await conn.execute(_SETTLE, operation_id, target.tenant_id, target.status, target.problem)


async def counts(conn: Connection, operation_id: UUID) -> dict[Status, int]:
    """By status, those that are none included."""
    found: dict[Status, int] = {"pending": 0, "changed": 0, "unchanged": 0, "refused": 0}
    return found | {row["status"]: row["tenants"] for row in await conn.fetch(_COUNTS, operation_id)}


async def page(conn: Connection, operation_id: UUID, *, status: Status | None, after: str, limit: int) -> list[Target]:
    rows: list[Any] = await conn.fetch(_PAGE, operation_id, status, after, limit)
    return [Target(tenant_id=row["tenant_id"], status=row["status"], problem=row["problem"]) for row in rows]
