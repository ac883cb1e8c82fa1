"""What needs somebody's attention, the worst first, with what mends it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from app.db.pool import Connection
from app.health.schemas import Health
from app.operations import service as operations
from app.operations.model import Status
from app.operations.service import OperationFilter
from app.registry.model import State
from app.schema.service import SchemaState

_RECENT: Final = timedelta(days=1)
_NAMED: Final = 5
_MENDS: Final[Mapping[str, str]] = {
    "isolation_broken": "GET /v1/isolation names each fault with the SQL that mends it; so does bf-admin isolation.",
    "schema_not_installed": "bf-admin upgrade",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """`url` is where to look; `mend` what to do."""

    status: Literal["fail", "warn"]
    title: str
    detail: str = ""
    mend: str = ""
    url: str | None = None


def ordered(found: Iterable[Attention]) -> list[Attention]:
    return sorted(found, key=lambda one: one.status != "fail")


def of_checks(health: Health) -> list[Attention]:
    """Of a process, or of the service as a whole: whatever does not pass."""
    return [
        Attention(
            status=check.status,
            title=f"{name.replace('_', ' ').capitalize()}: {(check.reason or check.status).replace('_', ' ')}",
            detail="" if check.observed is None else f"observed: {check.observed}",
            mend=_MENDS.get(check.reason or "", ""),
        )
        for name, check in health.checks.items()
        if check.status != "pass"
    ]


def of_tenants(by_state: Mapping[State, int], *, behind: int) -> list[Attention]:
    found = []
    if failed := by_state.get(State.FAILED):
        found.append(
            Attention(
                status="fail",
                title=f"{failed} {_tenants(failed)} failed",
                mend="Each says why; the operation that failed can be retried, or the tenant purged.",
                url="/ui/tenants?state=failed",
            )
        )
    if behind:
        found.append(
            Attention(
                status="warn",
                title=f"{behind} {_tenants(behind)} not at the latest schema version",
                mend="POST /v1/schema/upgrade, or bf-admin upgrade, brings each along.",
            )
        )
    return found


def of_schema(state: SchemaState) -> list[Attention]:
    if not state.pending:
        return []
    names = ", ".join(f"{m.layer} {m.version} {m.name}" for m in state.pending[:_NAMED])
    return [
        Attention(
            status="warn",
            title=f"{len(state.pending)} migrations pending",
            detail=names,
            mend="POST /v1/schema/upgrade, or bf-admin upgrade, applies them.",
        )
    ]


async def failed_operations(conn: Connection) -> list[Attention]:
    """Those of the last day, the newest first."""
    failed, _ = await operations.page(conn, OperationFilter(status=Status.FAILED), after=None, size=_NAMED)
    since = datetime.now(UTC) - _RECENT
    return [
        Attention(
            status="warn",
            title=f"{operation.kind} failed" + (f" for {operation.tenant_id}" if operation.tenant_id else ""),
            detail=str((operation.error or {}).get("detail", "")),
            mend="Retry it once the cause is gone.",
            url=f"/ui/operations/{operation.id}",
        )
        for operation in failed
        if (operation.finished_at or operation.created_at) > since
    ]


def _tenants(count: int) -> str:
    return "tenant" if count == 1 else "tenants"
