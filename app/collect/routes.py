"""GET /v1/health/fleet, /tables, /indexes, /queries and /connections: what was collected, never the catalogue."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from app.collect import schemas, service
from app.collect.page_queries import ConnectionOrder, IndexOrder, Position, SchemaOrder, StatementOrder, TableOrder
from app.collect.schemas import (
    ConnectionSnapshotOut,
    ConnectionSnapshotPage,
    FleetSnapshotPage,
    IndexSnapshotOut,
    IndexSnapshotPage,
    NoteOut,
    SchemaSnapshotOut,
    StatementSnapshotOut,
    StatementSnapshotPage,
    TableSnapshotOut,
    TableSnapshotPage,
)
from app.collect.service import Listing
from app.http import pagination
from app.http.auth import CurrentViewer
from app.http.dependencies import Db, Tokens, problems
from app.http.pagination import InvalidPageToken, PageSize, PageToken, PageTokens

router = APIRouter(prefix="/v1/health", tags=["monitoring"])

TenantId = Annotated[str | None, Query(max_length=36, pattern=r"^[^\x00-\x1f]*$")]
Name = Annotated[str | None, Query(max_length=63, pattern=r"^[^\x00-\x1f]*$")]
TableName = Annotated[str | None, Query(max_length=63, pattern=r"^[a-z0-9_]*$", examples=["budget_lines"])]


@router.get(
    "/fleet",
    summary="The database, the collectors, and whether each tenant's schema is whole",
    response_model=FleetSnapshotPage,
    responses=problems(400, 422),
)
async def get_fleet_health(
    db: Db,
    tokens: Tokens,
    _: CurrentViewer,
    page_size: PageSize = None,
    page_token: PageToken = None,
    tenant_id: TenantId = None,
    broken: Annotated[bool, Query(description="Only those that are not as they must be")] = False,
    order_by: Annotated[SchemaOrder, Query()] = "tenant_id",
) -> JSONResponse:
    """Tables, indexes and row-level security of every tenant, as they were last looked at, and its size."""
    query = {"list": "fleet", "tenant_id": tenant_id, "broken": broken, "order_by": order_by}
    after, size = _position(tokens, page_token, query), pagination.page_size(page_size)
    async with db.connection() as conn:
        overview = await service.overview(conn)
        found = await service.schemas(
            conn, tenant_id=tenant_id, broken=broken, order_by=order_by, after=after, size=size
        )
    return _answer(tokens, query, found, SchemaSnapshotOut, schemas.overview_out(overview))


@router.get(
    "/tables",
    summary="Sizes and rows of tenants' tables",
    response_model=TableSnapshotPage,
    responses=problems(400, 422),
)
async def list_table_snapshots(
    db: Db,
    tokens: Tokens,
    _: CurrentViewer,
    page_size: PageSize = None,
    page_token: PageToken = None,
    tenant_id: TenantId = None,
    table: TableName = None,
    order_by: Annotated[TableOrder, Query()] = "-total_bytes",
) -> JSONResponse:
    """The largest first. `taken_at` of each is when its tenant was last looked at."""
    query = {"list": "tables", "tenant_id": tenant_id, "table": table, "order_by": order_by}
    after, size = _position(tokens, page_token, query), pagination.page_size(page_size)
    async with db.connection() as conn:
        found = await service.tables(conn, tenant_id=tenant_id, table=table, order_by=order_by, after=after, size=size)
    return _answer(tokens, query, found, TableSnapshotOut)


@router.get(
    "/indexes", summary="How tenants' indexes are used", response_model=IndexSnapshotPage, responses=problems(400, 422)
)
async def list_index_snapshots(
    db: Db,
    tokens: Tokens,
    _: CurrentViewer,
    page_size: PageSize = None,
    page_token: PageToken = None,
    tenant_id: TenantId = None,
    table: TableName = None,
    only: Annotated[
        Literal["unused", "invalid"] | None,
        Query(description="Those that nothing has scanned; or that a failed CREATE INDEX CONCURRENTLY has left"),
    ] = None,
    order_by: Annotated[IndexOrder, Query()] = "-tuples_read",
) -> JSONResponse:
    """Those that are read most first."""
    query = {"list": "indexes", "tenant_id": tenant_id, "table": table, "only": only, "order_by": order_by}
    after, size = _position(tokens, page_token, query), pagination.page_size(page_size)
    async with db.connection() as conn:
        found = await service.indexes(
            conn, tenant_id=tenant_id, table=table, only=only or "", order_by=order_by, after=after, size=size
        )
    return _answer(tokens, query, found, IndexSnapshotOut)


@router.get("/queries", summary="Slow statements", response_model=StatementSnapshotPage, responses=problems(400, 422))
async def list_statement_snapshots(
    db: Db,
    tokens: Tokens,
    _: CurrentViewer,
    page_size: PageSize = None,
    page_token: PageToken = None,
    tenant_id: TenantId = None,
    role: Name = None,
    order_by: Annotated[StatementOrder, Query()] = "-mean_ms",
) -> JSONResponse:
    """The slowest first, of the 500 that took most of the time in all. Where pg_stat_statements is not to be had,
    `notes` says why, and what mends that.
    """
    query = {"list": "queries", "tenant_id": tenant_id, "role": role, "order_by": order_by}
    after, size = _position(tokens, page_token, query), pagination.page_size(page_size)
    async with db.connection() as conn:
        found = await service.statements(
            conn, tenant_id=tenant_id, role=role, order_by=order_by, after=after, size=size
        )
    return _answer(tokens, query, found, StatementSnapshotOut)


@router.get(
    "/connections",
    summary="Who is connected, and what they do",
    response_model=ConnectionSnapshotPage,
    responses=problems(400, 422),
)
async def list_connection_snapshots(
    db: Db,
    tokens: Tokens,
    _: CurrentViewer,
    page_size: PageSize = None,
    page_token: PageToken = None,
    role: Name = None,
    state: Name = None,
    order_by: Annotated[ConnectionOrder, Query()] = "-connections",
) -> JSONResponse:
    """Clients by role, application and state, the most first. Locks that are waited for are in `/v1/health/fleet`."""
    query = {"list": "connections", "role": role, "state": state, "order_by": order_by}
    after, size = _position(tokens, page_token, query), pagination.page_size(page_size)
    async with db.connection() as conn:
        found = await service.connections(conn, role=role, state=state, order_by=order_by, after=after, size=size)
    return _answer(tokens, query, found, ConnectionSnapshotOut)


def _position(tokens: PageTokens, token: str | None, query: Mapping[str, Any]) -> Position | None:
    told = tokens.read(token, query)
    if told is None:
        return None
    try:
        value, names = json.loads(told[0]), json.loads(told[1])
    except ValueError:
        raise InvalidPageToken("The page token is not one of ours.") from None
    return value, names


def _answer(
    tokens: PageTokens,
    query: Mapping[str, Any],
    found: Listing[Any],
    item: type[schemas.Row],
    others: Mapping[str, Any] | None = None,
) -> JSONResponse:
    following = None if found.following is None else (json.dumps(found.following[0]), json.dumps(found.following[1]))
    body: dict[str, Any] = {
        **(others or {}),
        "taken_at": None if found.taken_at is None else found.taken_at.isoformat().replace("+00:00", "Z"),
        "notes": [NoteOut.of(note).model_dump(mode="json") for note in found.notes],
        "items": [item.of(row).model_dump(mode="json") for row in found.items],
    }
    token = tokens.issue(query, following)
    return JSONResponse(body if token is None else {**body, "next_page_token": token})
