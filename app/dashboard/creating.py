"""GET /ui/tenants/new and POST /ui/tenants: provisioning a tenant, as POST /v1/tenants does."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError

from app.catalog import queries as catalog
from app.dashboard import forms
from app.dashboard.access import FIELD, PageOperator
from app.dashboard.templates import render
from app.db.pool import Connection, Database
from app.errors import AppError, Invalid
from app.http import idempotency, problem
from app.http.auth import Actor
from app.http.dependencies import Db
from app.http.idempotency import Answer
from app.http.statuses import status_of
from app.integrations.routes import CurrentRules
from app.operations import answer as operation_answer
from app.operations.answer import CurrentWaiter, origin_of
from app.tenants import service
from app.tenants.schemas import TenantIn

router = APIRouter(include_in_schema=False)
_PLAIN: Final = ("tenant_id", "tenant_name", "subscription_tier", "billing_contact")
_CONFIG: Final = ("default_currency", "time_zone", "fiscal_year_start")
_LIMITS: Final = ("max_budget_lines", "max_budgets", "concurrent_users_limit")
_FIELDS: Final = {FIELD, "once", "own_features", "features_enabled", *_PLAIN, *_CONFIG, *_LIMITS}


@router.get("/ui/tenants/new")
async def new_tenant_page(request: Request, actor: PageOperator, db: Db) -> HTMLResponse:
    return await _form(request, actor, db, {"subscription_tier": "standard"})


async def _form(
    request: Request, actor: Actor, db: Database, values: Mapping[str, str], error: AppError | None = None
) -> HTMLResponse:
    """`values` as they were sent; `once` keeps a second click from being a second request."""
    async with db.connection() as conn:
        tiers, features = await catalog.tiers(conn), await catalog.features(conn)
    once = str(operation_answer.new_id())
    return render(
        request,
        "new_tenant.html",
        actor,
        status=200 if error is None else status_of(error),
        values=values,
        chosen=set(values.get("features_enabled", "").split(forms.SEPARATOR)),
        once=once,
        tiers=tiers,
        features=features,
        error=error,
        faults={} if error is None else {_field(e.pointer): e.detail for e in error.errors},
    )


def _field(pointer: str) -> str:
    """The field of the form that a pointer into the request is about."""
    parts = [part for part in pointer.split("/") if part and part not in {"config", "limits"}]
    return parts[0] if parts else ""


@router.post("/ui/tenants")
async def create_tenant(
    request: Request, actor: PageOperator, db: Db, waiter: CurrentWaiter, rules: CurrentRules
) -> Response:
    """Leads to the operation, where it can be watched."""
    fields = await forms.read(request)
    forms.require_known(fields, _FIELDS)
    try:
        body = _body(fields)
        asked = body.request(body.tenant_id, caller=actor.name, integrations=rules)

        async def store(conn: Connection, operation_id: UUID) -> Answer:
            operation = await service.request_provisioning(
                conn, asked, operation_id=operation_id, origin=origin_of(actor)
            )
            return operation_answer.accepted(operation, location=f"/v1/tenants/{asked.tenant_id}")

        key = fields.get("once") or None
        call = idempotency.call(caller=actor.id, route="POST /ui/tenants", key=key, body=body)
        answer = await operation_answer.start(db, waiter, call, wait=None, request=store, finished=_never)
    except AppError as error:
        if status_of(error) not in {409, 422}:
            raise
        return await _form(request, actor, db, fields, error)
    return RedirectResponse(f"/ui/operations/{answer.body['id']}", status_code=303)


async def _never(_: Connection, __: object) -> Answer:
    raise NotImplementedError  # nobody waits


def _body(fields: Mapping[str, str]) -> TenantIn:
    """What is left empty is not asked for. Raises Invalid, with the API's own words."""
    document: dict[str, Any] = {name: fields[name] for name in _PLAIN if fields.get(name, "").strip()}
    for part, names in (("config", _CONFIG), ("limits", _LIMITS)):
        if given := {name: fields[name].strip() for name in names if fields.get(name, "").strip()}:
            document[part] = given
    if "own_features" in fields:
        document["features_enabled"] = [f for f in fields.get("features_enabled", "").split(forms.SEPARATOR) if f]
    try:
        return TenantIn.model_validate(document)
    except ValidationError as error:
        raise Invalid("Not everything is as it must be.", errors=problem.faults(error.errors())) from None
