"""GET /ui/fleet: the fleet at a glance, what needs attention first."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.collect import queries as collected
from app.dashboard import attention
from app.dashboard.access import PageViewer
from app.dashboard.templates import render
from app.db.pool import Connection
from app.health.summary import Summary
from app.http.dependencies import Db
from app.operations import service as operations
from app.operations.model import Operation, Status
from app.operations.service import OperationFilter
from app.registry import service as registry
from app.registry.model import State
from app.schema import files
from app.schema import service as schema

router = APIRouter(include_in_schema=False)
_SHOWN: Final = 8
_LEAVING: Final = frozenset({State.DELETED, State.PURGING})
# A snapshot that is older than this was taken by collectors that have stopped: then it is counted.
_FRESH: Final = timedelta(minutes=5)
# So many take a millisecond or two to count: of fewer, who has just made one sees it.
_MANY: Final = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many tenants there are, as of `at`."""

    at: datetime
    by_state: dict[State, int]
    by_version: dict[int | None, int]

    @property
    def all(self) -> int:
        return sum(self.by_state.values())


@router.get("/ui/fleet")
async def fleet_page(request: Request, actor: PageViewer, db: Db) -> HTMLResponse:
    async with db.connection() as conn:
        state = await schema.state(conn, files.migrations(), counted=False)
        counts = await _counts(conn)
        under_way = await _under_way(conn)
        recent, _ = await operations.page(conn, OperationFilter(), after=None, size=_SHOWN)
        failed = await attention.failed_operations(conn)
    summary: Summary = request.app.state.services.summary
    found = [*attention.of_findings((await summary.get()).findings), *failed]
    return render(
        request,
        "fleet.html",
        actor,
        counts=counts,
        schema=state,
        under_way=under_way,
        recent=recent,
        attention=attention.ordered(found),
        latest=state.latest.get("tenant"),
    )


async def _counts(conn: Connection) -> Counts:
    """As of now, or where they are many from the collectors' snapshot."""
    now, fleet = datetime.now(UTC), await collected.fleet(conn)
    if fleet is None or now - fleet.taken_at > _FRESH or sum(c.tenants for c in fleet.tenants) < _MANY:
        return _summed(now, await registry.census(conn))
    return _summed(fleet.taken_at, [(State(c.state), c.schema_version, c.tenants) for c in fleet.tenants])


def _summed(at: datetime, found: Sequence[tuple[State, int | None, int]]) -> Counts:
    """In the order in which states are declared, and the newest version first, without tenants that are leaving."""
    by_state: Counter[State] = Counter()
    by_version: Counter[int | None] = Counter()
    for state, version, tenants in found:
        by_state[state] += tenants
        by_version[version] += 0 if state in _LEAVING else tenants
    return Counts(
        at=at,
        by_state={state: by_state[state] for state in State if by_state[state]},
        by_version={v: by_version[v] for v in sorted(by_version, key=lambda v: -(v or 0)) if by_version[v]},
    )


async def _under_way(conn: Connection) -> list[Operation]:
    """What runs, and then what waits: the first of each."""
    found: list[Operation] = []
    for status in (Status.RUNNING, Status.QUEUED):
        page, _ = await operations.page(conn, OperationFilter(status=status), after=None, size=_SHOWN)
        found += page
    return found[:_SHOWN]
