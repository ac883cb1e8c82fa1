"""What would be lost with a purge, or with the deletion of many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.backups import queries as reading
from app.db.pool import Connection
from app.errors import FieldError, Invalid
from app.plans import queries as plans
from app.plans.model import Intent
from app.registry.model import TRANSITIONS, State, Tenant, Transition
from app.registry.service import TenantFilter
from app.tenants import bulk_queries, loss_queries
from app.tenants.loss_queries import Estimate
from app.tenants.loss_schemas import DeletionPlanOut, PurgePlanOut

# A table of more bytes is not counted while a request waits for it: its rows are PostgreSQL's estimate.
COUNTED: Final = 64 * 1024 * 1024
# How many tenants are deleted at once, at most: the plan names each.
MOST: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLoss:
    """`exact`: its rows were counted."""

    name: str
    rows: int
    exact: bool
    bytes: int


async def of_tenant(conn: Connection, tenant: Tenant) -> list[TableLoss]:
    """By table; none where there is no schema. Rows are counted where the audit role may be used for it."""
    if tenant.schema_version is None:  # a schema of that name would be somebody else's
        return []
    tables = await loss_queries.tables(conn, tenant.schema_name)
    if not (await reading.reader(conn)).granted:
        return [TableLoss(name=t.name, rows=t.rows, exact=False, bytes=t.bytes) for t in tables]
    found = []
    async with reading.reading_all(conn):
        for table in tables:
            exact = table.readable and table.bytes <= COUNTED
            rows = await loss_queries.count(conn, table) if exact else table.rows
            found.append(TableLoss(name=table.name, rows=rows, exact=exact, bytes=table.bytes))
    return found


async def purge(conn: Connection, tenant: Tenant, *, waive_backup: bool) -> tuple[Intent, PurgePlanOut]:
    """In a transaction. Bound to the generation, to the tables, and to the rows of those that were counted."""
    tables = await of_tenant(conn, tenant)
    waive_backup = waive_backup and tenant.schema_version is not None
    plan = PurgePlanOut.of(tenant, tables, waive_backup=waive_backup)
    counts = [(table.name, table.rows if table.exact else None) for table in tables]
    intent = Intent(
        action="tenant.purge",
        target=f"tenant/{tenant.tenant_id}",
        bound=[await plans.database(conn), tenant.generation, waive_backup, counts],
        document=plan.document(),
    )
    return intent, plan


async def deletion(conn: Connection, fitting: TenantFilter) -> tuple[Intent, DeletionPlanOut, Sequence[Estimate]]:
    """Of those that fit, and whose state allows it: who they are, in which generation. Raises Invalid for too many."""
    tenant_ids = await bulk_queries.fitting(conn, fitting)
    if len(tenant_ids) > MOST:
        errors = [FieldError(pointer="query", detail=f"must fit {MOST} tenants at most, not {len(tenant_ids)}")]
        raise Invalid("The request is not valid; see errors.", errors=errors)
    found = await loss_queries.estimates(conn, tenant_ids)
    going = [one for one in found if Transition.DELETE in TRANSITIONS[State(one.state)]]
    plan = DeletionPlanOut.of(going, skipped=[one.tenant_id for one in found if one not in going])
    intent = Intent(
        action="tenants.delete",
        target="tenants",
        bound=[await plans.database(conn), [(one.tenant_id, one.generation) for one in going]],
        document=plan.document(),
    )
    return intent, plan, going
