"""SQL of the tenant registry."""

from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from asyncpg import Record

from app.db.pool import Connection
from app.registry.model import State, Tenant, TenantId, TenantRequest

OrderBy = Literal["id", "-id", "name", "-name", "created_at", "-created_at"]

_GET = """
SELECT tenant_id, tenant_name, schema_name, state, schema_version, subscription_tier, generation, created_by,
       created_at, updated_at, last_operation_id, error
  FROM bf_control.tenant WHERE tenant_id = $1
"""
_REGISTER = """
INSERT INTO bf_control.tenant
    (tenant_id, tenant_name, schema_name, state, subscription_tier, created_by, request, initial_config,
     last_operation_id)
VALUES ($1, $2, concat('bf_', $1::varchar), 'provisioning', $3, $4, $5, $6, $7)
    ON CONFLICT ON CONSTRAINT tenant_pkey DO NOTHING
RETURNING tenant_id
"""
_LOCK_REQUEST = """
SELECT state, request, last_operation_id FROM bf_control.tenant WHERE tenant_id = $1 FOR UPDATE
"""
_RETRY = """
UPDATE bf_control.tenant SET state = 'provisioning', error = NULL, last_operation_id = $2, updated_at = now()
 WHERE tenant_id = $1 AND state = 'failed' RETURNING tenant_id
"""
_FAIL = """
UPDATE bf_control.tenant SET state = 'failed', error = $2, updated_at = now()
 WHERE tenant_id = $1 AND state = 'provisioning' RETURNING tenant_id
"""
# $1 state, $2 tier, $3 part of id or name, $4 and $5 the last row of the page before, $6 how many.
_PAGE = """
SELECT tenant_id, tenant_name, schema_name, state, schema_version, subscription_tier, generation, created_by,
       created_at, updated_at, last_operation_id, error
  FROM bf_control.tenant
 WHERE CASE WHEN $1::text IS NULL THEN state <> 'deleted' ELSE state = $1 END
   AND ($2::text IS NULL OR subscription_tier = $2)
   AND ($3::text IS NULL OR strpos(tenant_id, $3) > 0 OR strpos(lower(tenant_name), $3) > 0)
"""
_BEYOND: Final[dict[OrderBy, str]] = {
    "id": "AND ($4::text IS NULL OR tenant_id > $5) ORDER BY tenant_id LIMIT $6",
    "-id": "AND ($4::text IS NULL OR tenant_id < $5) ORDER BY tenant_id DESC LIMIT $6",
    "name": "AND ($4::text IS NULL OR (tenant_name, tenant_id) > ($4, $5)) ORDER BY tenant_name, tenant_id LIMIT $6",
    "-name": """AND ($4::text IS NULL OR (tenant_name, tenant_id) < ($4, $5))
 ORDER BY tenant_name DESC, tenant_id DESC LIMIT $6""",
    "created_at": """AND ($4::text IS NULL OR (created_at, tenant_id) > ($4::text::timestamptz, $5))
 ORDER BY created_at, tenant_id LIMIT $6""",
    "-created_at": """AND ($4::text IS NULL OR (created_at, tenant_id) < ($4::text::timestamptz, $5))
 ORDER BY created_at DESC, tenant_id DESC LIMIT $6""",
}
# One statement for each order, so that each can walk its index.
_LIST: Final[dict[OrderBy, str]] = {order: " ".join((_PAGE, beyond)) for order, beyond in _BEYOND.items()}


async def get(conn: Connection, tenant_id: TenantId) -> Tenant | None:
    row = await conn.fetchrow(_GET, tenant_id)
    return None if row is None else _tenant(row)


async def register(conn: Connection, request: TenantRequest, operation_id: UUID) -> bool:
    """False where the id is taken; waits for an uncommitted other one."""
    row = await conn.fetchrow(
        _REGISTER,
        request.tenant_id,
        request.tenant_name,
        request.subscription_tier,
        request.created_by,
        request.document,
        request.config,
        operation_id,
    )
    return row is not None


async def lock_request(conn: Connection, tenant_id: TenantId) -> tuple[State, dict[str, Any], UUID | None]:
    """State, creation request and last operation of a tenant, whose row stays locked."""
    row = await conn.fetchrow(_LOCK_REQUEST, tenant_id)
    if row is None:
        raise LookupError(tenant_id)
    return State(row["state"]), row["request"], row["last_operation_id"]


async def retry(conn: Connection, tenant_id: TenantId, operation_id: UUID) -> bool:
    """From failed back to provisioning; False where it was not failed."""
    return await conn.fetchrow(_RETRY, tenant_id, operation_id) is not None


async def fail(conn: Connection, tenant_id: TenantId, error: dict[str, Any]) -> bool:
    """From provisioning to failed; False where it was not provisioning."""
    return await conn.fetchrow(_FAIL, tenant_id, error) is not None


async def page(
    conn: Connection,
    *,
    state: State | None,
    tier: str | None,
    contains: str | None,
    order_by: OrderBy,
    after: tuple[str, str] | None,
    limit: int,
) -> list[Tenant]:
    """Up to `limit` tenants beyond `after`: the order's value (created_at in ISO 8601) and the id."""
    value, last_id = (None, None) if after is None else after
    needle = None if contains is None else contains.lower()
    rows = await conn.fetch(_LIST[order_by], state, tier, needle, value, last_id, limit)
    return [_tenant(row) for row in rows]


def order_value(tenant: Tenant, order_by: OrderBy) -> str:
    """What page() wants of the last row, as text."""
    value: str | datetime
    match order_by.lstrip("-"):
        case "name":
            value = tenant.tenant_name
        case "created_at":
            value = tenant.created_at
        case _:
            value = tenant.tenant_id
    return value.isoformat() if isinstance(value, datetime) else value


def _tenant(row: Record) -> Tenant:
    last = row["last_operation_id"]
    return Tenant(
        tenant_id=TenantId(row["tenant_id"]),
        tenant_name=row["tenant_name"],
        state=State(row["state"]),
        schema_name=row["schema_name"],
        schema_version=row["schema_version"],
        subscription_tier=row["subscription_tier"],
        generation=row["generation"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        last_operation_id=None if last is None else str(last),
        error=row["error"],
    )
