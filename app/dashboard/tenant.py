"""GET /ui/tenants/{id}: all there is to say of a tenant; and what may be done to it, as the API does it."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import TypeAdapter, ValidationError

from app.collect import queries as collected
from app.config import history
from app.dashboard import forms
from app.dashboard.access import FIELD, PageAdmin, PageOperator, PageViewer
from app.dashboard.templates import render
from app.dashboard.urls import address
from app.db.pool import Database
from app.errors import AppError, Invalid
from app.http import pagination, problem
from app.http.auth import Actor
from app.http.dependencies import Db, Tokens
from app.http.values import Reason
from app.limits import usage
from app.limits.model import Usage
from app.operations import answer as operation_answer
from app.operations import service as operations
from app.operations.answer import origin_of
from app.operations.service import OperationFilter
from app.registry import service as registry
from app.registry.model import CHANGEABLE, TRANSITIONS, Tenant, Transition
from app.tenants import lifecycle, repairing, verifying, whole
from app.tenants.lifecycle_routes import DeleteGrace
from app.tenants.repair_routes import Expected

router = APIRouter(prefix="/ui/tenants/{tenant_id}", include_in_schema=False)
_SHOWN: Final = 10
_HISTORY: Final = 20
_GROWTH: Final = timedelta(days=90)
_REASON: Final[TypeAdapter[str | None]] = TypeAdapter(Reason | None)
# What is said after each of them.
_DONE: Final = {
    "suspend": "The tenant is suspended.",
    "resume": "The tenant is active again.",
    "delete": "The tenant is deleted; until its purge time it can be restored.",
    "restore": "The tenant is what it was before.",
    "rollback": "The configuration is what it was in that version.",
}


@router.get("")
async def tenant_page(request: Request, tenant_id: str, actor: PageViewer, db: Db, done: str = "") -> HTMLResponse:
    async with db.connection() as conn:
        tenant = await registry.require(conn, tenant_id)
        settings, features, health = await whole.parts(conn, tenant)
        timeline, _ = await operations.page(conn, OperationFilter(tenant_id=tenant.tenant_id), after=None, size=_SHOWN)
        versions, _ = ([], None) if settings is None else await history.page(conn, tenant, before=None, size=3)
        growth = await collected.history(conn, tenant.tenant_id, since=datetime.now(UTC) - _GROWTH, limit=500)
        tables = await collected.tables(conn, tenant.tenant_id)
    used, unmeasured = await _usage(db, tenant)
    return render(
        request,
        "tenant.html",
        actor,
        tenant=tenant,
        settings=settings,
        features=features,
        health=health,
        timeline=timeline,
        versions=versions,
        growth=growth,
        tables=sorted(tables, key=lambda table: -table.total_bytes),
        usage=used,
        unmeasured=unmeasured,
        transitions=list(TRANSITIONS[tenant.state]),
        changeable=tenant.state in CHANGEABLE,
        done=_DONE.get(done, ""),
    )


async def _usage(db: Database, tenant: Tenant) -> tuple[list[Usage], str]:
    """Or why there is none to be had."""
    if tenant.schema_version is None:
        return [], ""
    try:
        async with db.transaction() as conn:
            return await usage.measure(conn, tenant), ""
    except AppError as error:
        return [], error.detail


@router.get("/history")
async def history_page(
    request: Request, tenant_id: str, actor: PageViewer, db: Db, tokens: Tokens, page_token: str = ""
) -> HTMLResponse:
    query = {"list": "ui config_history", "tenant_id": tenant_id}
    after = tokens.read(page_token or None, query)
    before = None if after is None else pagination.require_number(after[0])
    async with db.connection() as conn:
        tenant = await registry.require(conn, tenant_id)
        versions, following = await history.page(conn, tenant, before=before, size=_HISTORY)
    token = tokens.issue(query, None if following is None else (str(following), tenant_id))
    return render(
        request,
        "history.html",
        actor,
        tenant=tenant,
        versions=versions,
        newest=before is None,
        changeable=tenant.state in CHANGEABLE,
        next_url=None if token is None else address(f"/ui/tenants/{tenant_id}/history", page_token=token),
    )


# what may be done ----------------------------------------------------------------------------------


@router.post("/suspend")
async def suspend_tenant(request: Request, tenant_id: str, actor: PageOperator, db: Db) -> Response:
    return await _moved(request, tenant_id, actor, db, Transition.SUSPEND)


@router.post("/resume")
async def resume_tenant(request: Request, tenant_id: str, actor: PageOperator, db: Db) -> Response:
    return await _moved(request, tenant_id, actor, db, Transition.RESUME)


@router.post("/delete")
async def delete_tenant(request: Request, tenant_id: str, actor: PageAdmin, db: Db, grace: DeleteGrace) -> Response:
    """Only with the tenant's id written out: a slip of the finger deletes nobody."""
    fields = await forms.read(request)
    if fields.get("confirm", "").strip() != tenant_id:
        raise Invalid(f"To delete the tenant, write its id, {tenant_id}, into the field beside the button.")
    return await _moved(request, tenant_id, actor, db, Transition.DELETE, grace=grace)


@router.post("/restore")
async def restore_tenant(request: Request, tenant_id: str, actor: PageAdmin, db: Db) -> Response:
    return await _moved(request, tenant_id, actor, db, Transition.RESTORE)


async def _moved(
    request: Request,
    tenant_id: str,
    actor: Actor,
    db: Database,
    transition: Transition,
    *,
    grace: timedelta | None = None,
) -> Response:
    fields = await forms.read(request)
    forms.require_known(fields, {FIELD, "reason", "confirm"})
    reason = _reason(fields.get("reason", ""))
    async with db.transaction() as conn:
        tenant = await registry.require(conn, tenant_id, lock=True)
        await lifecycle.move(conn, tenant, transition, reason=reason, origin=origin_of(actor), grace=grace)
    return _back(tenant_id, done=str(transition))


def _reason(text: str) -> str | None:
    """Raises Invalid."""
    try:
        return _REASON.validate_python(text.strip() or None)
    except ValidationError as error:
        raise Invalid("The reason cannot be kept.", errors=problem.faults(error.errors())) from None


def _back(tenant_id: str, *, done: str) -> Response:
    return RedirectResponse(address(f"/ui/tenants/{tenant_id}", done=done), status_code=303)


@router.post("/rollback")
async def rollback_config(request: Request, tenant_id: str, actor: PageOperator, db: Db) -> Response:
    """As POST /v1/tenants/{id}/config/rollback."""
    fields = await forms.read(request)
    forms.require_known(fields, {FIELD, "version", "reason"})
    version, reason = _version(fields.get("version", "")), _reason(fields.get("reason", ""))
    async with db.transaction() as conn:
        tenant = await registry.require(conn, tenant_id, lock=True)
        await history.rollback(conn, tenant, version, reason=reason, origin=origin_of(actor))
    return _back(tenant_id, done="rollback")


def _version(text: str) -> int:
    """Raises Invalid."""
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 19):
        raise Invalid("A version is a number.")
    return int(text)


@router.post("/verify")
async def verify_tenant(
    request: Request, tenant_id: str, actor: PageOperator, db: Db, expected: Expected
) -> HTMLResponse:
    """Shows what it finds; changes nothing."""
    forms.require_known(await forms.read(request), {FIELD})
    verdict = await verifying.verify(db, expected, tenant_id)
    difference = verdict.found.difference
    found: list[tuple[str, Any]] = [
        ("missing", difference.missing), ("altered", difference.altered), ("extra", difference.extra),
    ]  # fmt: skip
    return render(
        request,
        "verified.html",
        actor,
        tenant=verdict.tenant,
        ok=difference.ok,
        found=[(label, [str(drift) for drift in drifts]) for label, drifts in found if drifts],
        changeable=verdict.tenant.state in CHANGEABLE,
    )


@router.post("/repair")
async def repair_tenant(request: Request, tenant_id: str, actor: PageOperator, db: Db) -> Response:
    """Leads to the operation. What somebody added stays."""
    forms.require_known(await forms.read(request), {FIELD})
    async with db.transaction() as conn:
        operation = await repairing.request_repair(
            conn, tenant_id, drop_extra=False, operation_id=operation_answer.new_id(), origin=origin_of(actor)
        )
    return RedirectResponse(f"/ui/operations/{operation.id}", status_code=303)
