"""GET /ui/operations and /ui/operations/{id}; POST …/cancel and …/retry"""

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.audit import service as audit
from app.dashboard import forms
from app.dashboard.access import FIELD, PageOperator, PageViewer
from app.dashboard.templates import render
from app.dashboard.urls import address
from app.errors import Invalid
from app.http import pagination
from app.http.dependencies import Db, Tokens
from app.operations import answer as operation_answer
from app.operations import rules, service
from app.operations.answer import origin_of
from app.operations.model import Kind, Operation, Status
from app.operations.routes import KindRules
from app.operations.service import OperationFilter

router = APIRouter(include_in_schema=False)
_SIZE: Final = 50
_RETRYABLE: Final = frozenset({Status.FAILED, Status.CANCELLED})


@router.get("/ui/operations")
async def operations_page(
    request: Request,
    actor: PageViewer,
    db: Db,
    tokens: Tokens,
    status: str = "",
    kind: str = "",
    tenant_id: str = "",
    page_token: str = "",
) -> HTMLResponse:
    given = {"status": status, "kind": kind, "tenant_id": tenant_id.strip()}
    query = {"list": "ui operations", **given}
    after = tokens.read(page_token or None, query)
    if after is not None:
        pagination.require_timestamp(after[0])
        pagination.require_uuid(after[1])
    async with db.connection() as conn:
        found, following = await service.page(conn, _filter(given), after=after, size=_SIZE)
    token = tokens.issue(query, following)
    return render(
        request,
        "operations.html",
        actor,
        operations=found,
        given=given,
        statuses=list(Status),
        kinds=list(Kind),
        next_url=None if token is None else address("/ui/operations", **given, page_token=token),
    )


def _filter(given: dict[str, str]) -> OperationFilter:
    """Raises Invalid."""
    status, tenant_id = given["status"], given["tenant_id"]
    if status and status not in set(Status):
        raise Invalid(f"There is no such status; there are {', '.join(Status)}.")
    if not tenant_id.isprintable() or len(tenant_id) > 36 or not given["kind"].isprintable():
        raise Invalid("There can be no such tenant, or no such kind.")
    return OperationFilter(
        status=Status(status) if status else None, kind=given["kind"] or None, tenant_id=tenant_id or None
    )


@router.get("/ui/operations/{operation_id}")
async def operation_page(request: Request, operation_id: str, actor: PageViewer, db: Db) -> HTMLResponse:
    """While it runs, the page asks every second; without JavaScript, whoever reads it does."""
    async with db.connection() as conn:
        operation = await service.require(conn, service.operation_id(operation_id))
    return render(request, "operation.html", actor, operation=operation, **shown(operation))


def shown(operation: Operation) -> dict[str, Any]:
    """What a template says of an operation, beside what it is."""
    longest = max((step.duration_ms or 0 for step in operation.steps), default=0) or 1
    took = None
    if operation.finished_at is not None and operation.started_at is not None:
        took = operation.finished_at - operation.started_at
    return {
        "longest": longest,
        "took": took,
        "cancellable": not operation.status.terminal and not operation.cancel_requested,
        "retryable": operation.status in _RETRYABLE,
    }


@router.post("/ui/operations/{operation_id}/cancel")
async def cancel_operation(
    request: Request, operation_id: str, actor: PageOperator, db: Db, kinds: KindRules
) -> Response:
    """As POST /v1/operations/{id}/cancel."""
    forms.require_known(await forms.read(request), {FIELD})
    wanted = service.operation_id(operation_id)
    async with db.transaction() as conn:
        operation = await rules.cancel(conn, wanted, kinds)
        target = f"operation/{operation.id}"
        await audit.record(conn, origin_of(actor), action="operation.cancel", target=target, outcome="accepted")
    return RedirectResponse(f"/ui/operations/{wanted}", status_code=303)


@router.post("/ui/operations/{operation_id}/retry")
async def retry_operation(
    request: Request, operation_id: str, actor: PageOperator, db: Db, kinds: KindRules
) -> Response:
    """As POST /v1/operations/{id}/retry: another operation, which it leads to."""
    forms.require_known(await forms.read(request), {FIELD})
    wanted, new_id = service.operation_id(operation_id), operation_answer.new_id()
    async with db.transaction() as conn:
        again = await rules.retry(conn, wanted, kinds, new_id=new_id, origin=origin_of(actor))
    return RedirectResponse(f"/ui/operations/{again.id}", status_code=303)
