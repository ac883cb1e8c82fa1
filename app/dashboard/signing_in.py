"""GET /, POST /ui/login and /ui/logout, GET /ui/login/issuer and /ui/login/callback"""

import json
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.audit.model import Origin
from app.dashboard import access, forms
from app.dashboard.edge import ISSUED
from app.dashboard.templates import environment
from app.errors import AppError, InvalidCredentials, NotFound, Unauthenticated
from app.health import ready
from app.http import denials
from app.http.auth import Public
from app.http.dependencies import Db, HttpServices
from app.http.ids import request_id_of, traceparent_of
from app.http.statuses import status_of
from app.keyring import CannotDecrypt, Sealed
from app.operations.answer import origin_of
from app.sessions import service as sessions
from app.tokens.signin import Attempt, SignIn

router = APIRouter(include_in_schema=False)
callback = APIRouter(include_in_schema=False)
_ATTEMPT: Final = ("bf_attempt", "__Host-bf_attempt")
# Seconds in which whoever was sent to the issuer is back.
_PATIENCE: Final = 600


async def _services(request: Request) -> HttpServices:
    services: HttpServices = request.app.state.services
    return services


async def _sign_in(request: Request) -> SignIn | None:
    found: SignIn | None = request.app.state.services.sign_in
    return found


Services = Annotated[HttpServices, Depends(_services)]
Issuer = Annotated[SignIn | None, Depends(_sign_in)]


class NoIssuer(NotFound):
    code = "no_issuer"
    title = "Nobody signs in elsewhere"


@router.get("/", dependencies=[Public])
async def front_page(request: Request, services: Services, issuer: Issuer, next: str = "") -> Response:
    """To whoever is signed in, where they begin; to others, the form to sign in with, and whether this process serves.

    It tells nobody about tenants.
    """
    try:
        actor = await access.signed_in(request)
    except AppError:
        actor = None  # the page says why
    if actor is not None:
        return RedirectResponse(access.local(next) or access.home(actor.role, actor.tenant_id), status_code=303)
    return await _form(request, services, issuer, next_url=next)


async def _form(
    request: Request,
    services: HttpServices,
    issuer: SignIn | None,
    *,
    next_url: str,
    error: AppError | None = None,
) -> HTMLResponse:
    found = await ready.of_process(services.readiness, services.database)
    failed = ", ".join(f"{name} ({check.reason})" for name, check in found.checks.items() if check.status == "fail")
    visitor = access.visitor_token(request)
    text = (
        environment()
        .get_template("login.html")
        .render(
            version=request.app.version,
            failed=failed,
            issuer=None if issuer is None else issuer.issuer,
            next=access.local(next_url) or "",
            error=error,
            form_field=access.FIELD,
            form_token=access.page_of(request).form_token(visitor),
        )
    )
    response = HTMLResponse(text, status_code=200 if error is None else status_of(error))
    access.remember_visitor(response, request, visitor)
    return response


@router.post("/ui/login", dependencies=[Public])
async def log_in(request: Request, services: Services, issuer: Issuer, db: Db) -> Response:
    """With an API key. A new session each time, whatever the browser had before."""
    fields = await forms.read(request)
    await access.require_form(request, access.known_visitor(request))
    forms.require_known(fields, {access.FIELD, "key", "next"})
    services.readiness.require()
    wanted = fields.get("next", "")
    try:
        key = await services.known_keys.verify(fields.get("key", "").strip())
        home = access.home(key.role, key.tenant_id)
    except AppError as error:
        if error.denial:
            denials.note(request, error, status_of(error))
        return await _form(request, services, issuer, next_url=wanted, error=error)
    async with db.transaction() as conn:
        token = await sessions.begin_of_key(conn, key, access.page_of(request).lifetime, origin=_stranger(request))
    response = RedirectResponse(access.local(wanted) or home, status_code=303)
    access.begin(response, request, token)
    access.drop_cookie(response, request, ISSUED)
    return response


def _stranger(request: Request) -> Origin:
    """Of somebody who is about to be known."""
    return Origin(
        actor=denials.ANONYMOUS,
        request_id=request_id_of(request),
        traceparent=traceparent_of(request),
        source_address=request.client.host if request.client else None,
    )


@router.get("/ui/login/issuer", dependencies=[Public])
async def go_to_issuer(request: Request, issuer: Issuer, next: str = "") -> Response:
    """What is needed to believe whoever comes back is sealed in a cookie meanwhile."""
    attempt = Attempt.new()
    place = await _require(issuer).begin(attempt, callback=_callback(request))
    kept = json.dumps([attempt.state, attempt.verifier, access.local(next) or ""])
    sealed = access.page_of(request).keyring.seal(kept, "attempt")
    response = RedirectResponse(place, status_code=303)
    access.set_cookie(response, request, _ATTEMPT, sealed.ciphertext.hex(), seconds=_PATIENCE)
    return response


@callback.get("/ui/login/callback", dependencies=[Public])
async def come_back(
    request: Request,
    services: Services,
    issuer: Issuer,
    db: Db,
    code: str = "",
    state: str = "",
    iss: str | None = None,
    error: str = "",
) -> Response:
    """The access token is held to the same checks as one that is sent to the API. Raises as those do."""
    sign_in = _require(issuer)
    attempt, wanted = _attempt(request)
    if state != attempt.state or (iss is not None and iss != sign_in.issuer):
        raise InvalidCredentials("This is not the answer to your attempt to sign in: try again.")
    if error or not code:
        raise InvalidCredentials("The issuer did not sign you in.")
    token = await sign_in.finish(attempt, code, callback=_callback(request))
    if services.access_tokens is None:
        raise Unauthenticated("Access tokens are not taken here.")
    services.readiness.require()
    caller = await services.access_tokens.verify(token)
    home = access.home(caller.role, caller.tenant_id)
    page = access.page_of(request)
    async with db.transaction() as conn:
        session = await sessions.begin_of_caller(conn, caller, page.lifetime, origin=_stranger(request))
    response = RedirectResponse(wanted or home, status_code=303)
    access.begin(response, request, session)
    access.drop_cookie(response, request, _ATTEMPT)
    access.set_cookie(response, request, ISSUED, "1", seconds=int(page.lifetime.longest.total_seconds()))
    return response


def _require(issuer: SignIn | None) -> SignIn:
    if issuer is None:
        raise NoIssuer("Set BF_OIDC_ISSUER and BF_OIDC_CLIENT_ID to sign in by OpenID Connect.")
    return issuer


def _callback(request: Request) -> str:
    base = access.page_of(request).public_url or str(request.base_url).rstrip("/")
    return f"{base}/ui/login/callback"


def _attempt(request: Request) -> tuple[Attempt, str]:
    """With where they wanted to go. Raises InvalidCredentials."""
    page = access.page_of(request)
    sealed = request.cookies.get(_ATTEMPT[access.is_secure(request)], "")
    try:
        opened = page.keyring.open(Sealed(key_id=page.keyring.current, ciphertext=bytes.fromhex(sealed)), "attempt")
        state, verifier, wanted = json.loads(opened)
    except (CannotDecrypt, ValueError):
        raise InvalidCredentials("Your attempt to sign in took too long, or began elsewhere: try again.") from None
    return Attempt(state=state, verifier=verifier), access.local(wanted) or ""


@router.post("/ui/logout", dependencies=[Public])
async def log_out(request: Request, db: Db) -> Response:
    """Ends this session, not the one at the issuer."""
    fields = await forms.read(request)
    token = access.session_token(request)
    if token:
        await access.require_form(request, token)
        forms.require_known(fields, {access.FIELD})
        actor = await access.signed_in(request)
        if actor is not None:
            async with db.transaction() as conn:
                await sessions.end(conn, token, origin=origin_of(actor))
    response = RedirectResponse("/", status_code=303)
    access.end(response, request)
    access.drop_cookie(response, request, ISSUED)
    return response
