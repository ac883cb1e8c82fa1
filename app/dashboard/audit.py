"""GET /ui/audit: who did what."""

from datetime import datetime
from typing import Final, get_args

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.audit import service
from app.audit.queries import Filter, Outcome
from app.dashboard.access import PageAuditor
from app.dashboard.templates import render
from app.dashboard.urls import address
from app.errors import Invalid
from app.http import pagination
from app.http.dependencies import Db, Tokens

router = APIRouter(include_in_schema=False)
_SIZE: Final = 50
_OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)
_LONGEST: Final = 300


@router.get("/ui/audit")
async def audit_page(
    request: Request,
    actor: PageAuditor,
    db: Db,
    tokens: Tokens,
    who: str = "",
    action: str = "",
    tenant_id: str = "",
    outcome: str = "",
    request_id: str = "",
    page_token: str = "",
) -> HTMLResponse:
    given = {
        name: value.strip()
        for name, value in {
            "who": who, "action": action, "tenant_id": tenant_id, "outcome": outcome, "request_id": request_id,
        }.items()
    }  # fmt: skip
    query = {"list": "ui audit", **given}
    told = tokens.read(page_token or None, query)
    after = None
    if told is not None:
        pagination.require_timestamp(told[0])
        after = datetime.fromisoformat(told[0]), pagination.require_number(told[1])
    async with db.connection() as conn:
        records, following = await service.page(conn, _filter(given), after=after, size=_SIZE)
    token = tokens.issue(query, None if following is None else (following[0].isoformat(), str(following[1])))
    return render(
        request,
        "audit.html",
        actor,
        records=records,
        given=given,
        outcomes=_OUTCOMES,
        next_url=None if token is None else address("/ui/audit", **given, page_token=token),
    )


def _filter(given: dict[str, str]) -> Filter:
    """Raises Invalid for what is in no row."""
    if any(len(value) > _LONGEST or not value.isprintable() for value in given.values()):
        raise Invalid("What is asked for holds characters that no record has, or is too long.")
    if given["outcome"] and given["outcome"] not in _OUTCOMES:
        raise Invalid(f"There is no such outcome; there are {', '.join(_OUTCOMES)}.")
    asked = {name: value or None for name, value in given.items()}
    return Filter(
        actor=asked["who"],
        action=asked["action"],
        tenant_id=asked["tenant_id"],
        outcome=asked["outcome"],
        request_id=asked["request_id"],
    )
