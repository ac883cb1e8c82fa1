"""What needs somebody's attention, the worst first, with what mends it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from app.db.pool import Connection
from app.health import checks
from app.health.model import Finding
from app.operations import service as operations
from app.operations.model import Status
from app.operations.service import OperationFilter

_RECENT: Final = timedelta(days=1)
_NAMED: Final = 5
_UI: Final = "/ui"
# Of what a check refers to, what the page shows too.
_SHOWN: Final = ("/v1/tenants", "/v1/operations")


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


def of_findings(findings: Mapping[str, Finding]) -> list[Attention]:
    """Whatever of /health does not pass; a reason says what to do, too."""
    return [
        Attention(
            status="fail" if finding.status == "fail" else "warn",
            title=name.replace("_", " ").capitalize(),
            detail=finding.reason or "",
            url=_page_of(finding.related),
        )
        for name, finding in checks.attention(findings)
    ]


def _page_of(related: str | None) -> str | None:
    if related is None or not related.startswith(_SHOWN):
        return None
    return _UI + related.removeprefix("/v1")


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
