"""GET /v1/audit and /v1/audit/verify"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import AfterValidator

from app.audit import service
from app.audit import verify as verification
from app.audit.anchors import Anchors
from app.audit.queries import Filter, Outcome
from app.audit.schemas import AuditPage, AuditRecordOut, VerifiedOut
from app.db.pool import Database
from app.errors import AppError
from app.http import pagination
from app.http.auth import CurrentAuditor
from app.http.dependencies import Db, Tokens, problems
from app.http.pagination import PageSize, PageToken
from app.log import logger

_log = logger(__name__)
router = APIRouter(prefix="/v1/audit", tags=["audit"])
NDJSON: Final = "application/x-ndjson"
# Of one call: about a second's work, and well within a request's time.
_MOST: Final = 20_000


async def _anchors(request: Request) -> Anchors | None:
    anchors: Anchors | None = request.app.state.services.anchors
    return anchors


def _in_utc(value: datetime) -> datetime:
    """A time that names no zone is UTC. Raises ValueError for what PostgreSQL has no timestamp for."""
    value = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time of the years 1 to 9999, in UTC") from None


Time = Annotated[datetime, AfterValidator(_in_utc)]
Text = Annotated[str | None, Query(max_length=300, pattern=r"^[^\x00-\x1f]*$")]


async def _filter(
    actor: Text = None,
    action: Text = None,
    target: Text = None,
    tenant_id: Annotated[str | None, Query(max_length=36, pattern=r"^[^\x00-\x1f]*$")] = None,
    outcome: Annotated[Outcome | None, Query()] = None,
    request_id: Text = None,
    since: Annotated[Time | None, Query(alias="from", description="From then on")] = None,
    until: Annotated[Time | None, Query(alias="to", description="Before then")] = None,
) -> Filter:
    return Filter(
        actor=actor,
        action=action,
        target=target,
        tenant_id=tenant_id,
        outcome=outcome,
        request_id=request_id,
        since=since,
        until=until,
    )


@router.get(
    "",
    summary="Read the audit trail",
    response_model=AuditPage,
    responses={
        200: {
            "description": "A page; or, asked for as NDJSON, all of it, a row in each line",
            "content": {NDJSON: {"schema": {"type": "string"}}},
        },
        **problems(400, 422),
    },
)
async def list_audit(
    db: Db,
    tokens: Tokens,
    _: CurrentAuditor,
    wanted: Annotated[Filter, Depends(_filter)],
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
    page_size: PageSize = None,
    page_token: PageToken = None,
) -> Response:
    """The newest first. `Accept: application/x-ndjson` answers with every row that fits, not with a page: as many
    lines, as long as you read. A stream that was cut off ends in the middle of a line, or without the oldest row.
    """
    query = {"list": "audit", **{name: getattr(wanted, name) for name in Filter.__slots__}}
    size = pagination.page_size(page_size)
    position = _position(tokens.read(page_token, query))
    if accept is not None and NDJSON in accept.lower():
        return StreamingResponse(_lines(db, wanted), media_type=NDJSON)
    async with db.connection() as conn:
        found, following = await service.page(conn, wanted, after=position, size=size)
    after = None if following is None else (following[0].isoformat(), str(following[1]))
    return pagination.answer([AuditRecordOut.of(record) for record in found], tokens.issue(query, after))


def _position(told: tuple[str, str] | None) -> tuple[datetime, int] | None:
    if told is None:
        return None
    pagination.require_timestamp(told[0])
    return datetime.fromisoformat(told[0]), pagination.require_number(told[1])


async def _lines(db: Database, wanted: Filter) -> AsyncIterator[bytes]:
    try:
        async for records in service.export(db, wanted):
            yield b"".join(AuditRecordOut.of(record).model_dump_json().encode() + b"\n" for record in records)
    except AppError as error:
        _log.warning("export_cut_short", reason=error.detail)
        raise


@router.get("/verify", summary="Verify the audit trail", response_model=VerifiedOut, responses=problems(400, 422))
async def verify_audit(
    db: Db,
    _: CurrentAuditor,
    anchors: Annotated[Anchors | None, Depends(_anchors)],
    from_seq: Annotated[int | None, Query(ge=1, le=2**53, description="The beginning by default")] = None,
    rows: Annotated[int, Query(ge=1, le=_MOST, description="At most so many of one call")] = _MOST,
) -> JSONResponse:
    """Hashes every row again, and names the first that is not what was sealed. A long trail takes several calls: while
    `complete` is false, go on with `from_seq` at `next_seq`. The last looks for rows that were put in past the chain,
    for the chain's end, and at the anchors, where any are kept.
    """
    found = await verification.verify(db, anchors=anchors, start=from_seq, at_most=rows)
    return JSONResponse(VerifiedOut.of(found).model_dump(mode="json"))
