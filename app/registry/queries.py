"""SQL of the tenant registry."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from asyncpg import Record

from app.db.pool import Connection
from app.registry.model import (
    TRANSITIONS,
    State,
    Tenant,
    TenantId,
    TenantRequest,
    Transition,
    states_allowing,
)

_GET = """
SELECT tenant_id, tenant_name, schema_name, state, schema_version, subscription_tier, billing_contact, generation,
       created_by, created_at, updated_at, last_operation_id, error, state_reason, state_changed_at, state_changed_by,
       purge_time
  FROM bf_control.tenant WHERE tenant_id = $1
"""
_LOCK_CONFIG = "SELECT bf_control.lock_tenant_config($1)"
_GET_FOR_UPDATE = """
SELECT tenant_id, tenant_name, schema_name, state, schema_version, subscription_tier, billing_contact, generation,
       created_by, created_at, updated_at, last_operation_id, error, state_reason, state_changed_at, state_changed_by,
       purge_time
  FROM bf_control.tenant WHERE tenant_id = $1 FOR NO KEY UPDATE
"""
_REGISTER = """
INSERT INTO bf_control.tenant
    (tenant_id, tenant_name, schema_name, state, subscription_tier, created_by, request, initial_config,
     last_operation_id)
VALUES ($1, $2, concat('bf_', $1::varchar), 'provisioning', $3, $4, $5, $6, $7)
    ON CONFLICT DO NOTHING
RETURNING tenant_id
"""
_GET_REQUEST = """
SELECT state, request, last_operation_id FROM bf_control.tenant WHERE tenant_id = $1
"""
_COUNT_LISTED = "SELECT count(*) FROM bf_control.tenant WHERE state <> 'deleted'"
_CENSUS = """
SELECT state, schema_version, count(*) AS tenants FROM bf_control.tenant GROUP BY state, schema_version
"""
_TAKEN = "SELECT tenant_id FROM bf_control.tenant WHERE tenant_id = ANY ($1::text[])"
_RETRY = """
UPDATE bf_control.tenant SET state = 'provisioning', error = NULL, last_operation_id = $2, updated_at = now()
 WHERE tenant_id = $1 AND state = 'failed' RETURNING tenant_id
"""
_FAIL = """
UPDATE bf_control.tenant SET state = 'failed', error = $2, updated_at = now()
 WHERE tenant_id = $1 AND state = 'provisioning' RETURNING tenant_id
"""
# With the context, what the history of tenant_config says of the change.
_CHANGE = """
SELECT bf_control.change_tenant($1, $2)
  FROM (SELECT set_config('bf.source', 'api', true), set_config('app.current_user_id', left($3, 36), true)) AS context
"""
_MOVE = """
SELECT bf_control.move_tenant($1, $2, $3, $4, $5, $6)
  FROM (SELECT set_config('bf.source', 'api', true), set_config('app.current_user_id', left($5, 36), true)) AS context
"""
_SET_OPERATION = "UPDATE bf_control.tenant SET last_operation_id = $2 WHERE tenant_id = $1"
_PURGE_FAILED = """
UPDATE bf_control.tenant SET state = 'deleted', error = $3, updated_at = now()
 WHERE tenant_id = $1 AND state = 'purging' AND last_operation_id = $2
"""
# Until all of it is back, what the registry shows of a tenant that is restored.
_RESERVE = """
INSERT INTO bf_control.tenant
    (tenant_id, tenant_name, schema_name, state, subscription_tier, created_by, last_operation_id, state_changed_at,
     state_changed_by)
SELECT t.tenant_id, t.tenant_name, t.schema_name, 'provisioning', t.subscription_tier, t.created_by, $2, now(), $3
  FROM jsonb_populate_record(NULL::bf_control.tenant, $1) AS t
    ON CONFLICT DO NOTHING
RETURNING tenant_id
"""
_RELEASE = """
DELETE FROM bf_control.tenant WHERE tenant_id = $1 AND state = 'provisioning' AND last_operation_id = $2
"""
_RESTORED = """
UPDATE bf_control.tenant
   SET state_reason = $2, state_changed_by = $3, state_changed_at = now()
 WHERE tenant_id = $1
RETURNING tenant_id, tenant_name, schema_name, state, schema_version, subscription_tier, billing_contact, generation,
       created_by, created_at, updated_at, last_operation_id, error, state_reason, state_changed_at, state_changed_by,
       purge_time
"""
_HOLDS_CREDENTIALS = """
SELECT ARRAY(SELECT d.key FROM jsonb_each($1::jsonb) AS d WHERE bf_control.holds_credentials(d.value))
"""


async def get(conn: Connection, tenant_id: TenantId) -> Tenant | None:
    row = await conn.fetchrow(_GET, tenant_id)
    return None if row is None else tenant_of(row)


async def lock(conn: Connection, tenant_id: TenantId) -> Tenant | None:
    """As get(); the row, and its tenant_config first, stay locked until the transaction ends."""
    await conn.execute(_LOCK_CONFIG, tenant_id)
    row = await conn.fetchrow(_GET_FOR_UPDATE, tenant_id)
    return None if row is None else tenant_of(row)


async def change(conn: Connection, tenant_id: TenantId, changes: dict[str, Any], *, actor: str) -> None:
    """Sets tenant_name, subscription_tier, billing_contact: those that are in `changes`."""
    await conn.execute(_CHANGE, tenant_id, changes, actor)


async def move(
    conn: Connection,
    tenant_id: TenantId,
    transition: Transition,
    *,
    reason: str | None,
    actor: str,
    grace: timedelta | None = None,
) -> None:
    """Takes or gives the application role its way in too. Of a transition that the tenant's state allows."""
    allowing = states_allowing(transition)
    await conn.execute(_MOVE, tenant_id, allowing, TRANSITIONS[allowing[0]][transition], reason, actor, grace)


async def set_operation(conn: Connection, tenant_id: TenantId, operation_id: UUID) -> None:
    """The one that works on the tenant now."""
    await conn.execute(_SET_OPERATION, tenant_id, operation_id)


async def purge_failed(conn: Connection, tenant_id: TenantId, operation_id: UUID, error: dict[str, Any]) -> None:
    """From purging back to deleted, where it is that operation's."""
    await conn.execute(_PURGE_FAILED, tenant_id, operation_id, error)


async def reserve(conn: Connection, recorded: dict[str, Any], operation_id: UUID, *, actor: str) -> bool:
    """A registry row for the tenant that is `recorded`; False where the id is taken."""
    return await conn.fetchrow(_RESERVE, recorded, operation_id, actor) is not None


async def release(conn: Connection, tenant_id: TenantId, operation_id: UUID) -> None:
    """Takes the row away that was reserved for that operation."""
    await conn.execute(_RELEASE, tenant_id, operation_id)


async def restored(conn: Connection, tenant_id: TenantId, *, reason: str | None, actor: str) -> Tenant:
    """The tenant, with who has restored it and why."""
    row: Any = await conn.fetchrow(_RESTORED, tenant_id, reason, actor)
    return tenant_of(row)


async def credentials_in(conn: Connection, values: dict[str, Any]) -> list[str]:
    """The names of those `values` that look like credentials."""
    names: list[str] = await conn.fetchval(_HOLDS_CREDENTIALS, values)
    return names


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


async def register_all(conn: Connection, requests: Mapping[UUID, TenantRequest]) -> bool:
    """As register() of each, by the ids of their operations; False where one of the tenants is there already."""
    rows = [
        (r.tenant_id, r.tenant_name, r.subscription_tier, r.created_by, r.document, r.config, operation_id)
        for operation_id, r in requests.items()
    ]
    return len(await conn.fetchmany(_REGISTER, rows)) == len(rows)


async def taken(conn: Connection, tenant_ids: Collection[str]) -> set[str]:
    """Those that there is a tenant with."""
    return {row["tenant_id"] for row in await conn.fetch(_TAKEN, tenant_ids)}


async def count_listed(conn: Connection) -> int:
    """Tenants that are not deleted."""
    count: int = await conn.fetchval(_COUNT_LISTED)
    return count


async def census(conn: Connection) -> list[tuple[State, int | None, int]]:
    """How many tenants there are of each state and version. Reads every row of the registry."""
    return [(State(row["state"]), row["schema_version"], row["tenants"]) for row in await conn.fetch(_CENSUS)]


async def get_request(conn: Connection, tenant_id: TenantId) -> tuple[State, dict[str, Any], UUID | None] | None:
    """State, creation request and last operation of a tenant; None where there is none.

    Not locked: the worker that builds the tenant has its row until it commits.
    """
    row = await conn.fetchrow(_GET_REQUEST, tenant_id)
    return None if row is None else (State(row["state"]), row["request"], row["last_operation_id"])


async def retry(conn: Connection, tenant_id: TenantId, operation_id: UUID) -> bool:
    """From failed back to provisioning; False where it was not failed."""
    return await conn.fetchrow(_RETRY, tenant_id, operation_id) is not None


async def fail(conn: Connection, tenant_id: TenantId, error: dict[str, Any]) -> bool:
    """From provisioning to failed; False where it was not provisioning."""
    return await conn.fetchrow(_FAIL, tenant_id, error) is not None


def tenant_of(row: Record) -> Tenant:
    last = row["last_operation_id"]
    return Tenant(
        tenant_id=TenantId(row["tenant_id"]),
        tenant_name=row["tenant_name"],
        state=State(row["state"]),
        schema_name=row["schema_name"],
        schema_version=row["schema_version"],
        subscription_tier=row["subscription_tier"],
        billing_contact=row["billing_contact"],
        generation=row["generation"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        last_operation_id=None if last is None else str(last),
        error=row["error"],
        state_reason=row["state_reason"],
        state_changed_at=row["state_changed_at"],
        state_changed_by=row["state_changed_by"],
        purge_time=row["purge_time"],
    )
