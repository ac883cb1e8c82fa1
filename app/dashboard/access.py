"""Who is at the page, and what a page lets them do. The roles are the API's, and so are the checks."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.responses import Response

from app.apikeys.model import Role
from app.dashboard import forms
from app.db.pool import Database
from app.errors import Denied, InsufficientScope, Unauthenticated
from app.http import auth
from app.http.auth import Actor, RequireRole
from app.http.dependencies import HttpServices
from app.http.ids import request_id_of, traceparent_of
from app.keyring import Keyring
from app.sessions import service as sessions
from app.sessions.model import Lifetime, Session

# Where a browser takes the longer name nobody but this very host can have set it: no neighbour below the same domain.
_SESSION: Final = ("bf_session", "__Host-bf_session")
_VISITOR: Final = ("bf_visitor", "__Host-bf_visitor")
# The part of a page that asks by the clock, which is nobody's click.
LIVE: Final = "live"
# What a form says to be believed.
FIELD: Final = "form_token"
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_LOCAL: Final = re.compile(r"/ui/[A-Za-z0-9_./?&=%+:~,@-]{0,500}")


class FormRefused(Denied):
    code = "form_refused"
    title = "This form was not sent from here"

    def __init__(self) -> None:
        super().__init__("It is too old, or comes from another site. Go back, reload the page, and send it again.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """`key` signs the tokens of forms; `keyring` seals what a browser keeps for us."""

    lifetime: Lifetime
    public_url: str
    key: bytes = field(repr=False)
    keyring: Keyring = field(repr=False)

    @classmethod
    def of(cls, pepper: str, lifetime: Lifetime, *, public_url: str) -> "Page":
        """From a secret that every process of the service has."""
        key = hashlib.sha256(b"page:" + pepper.encode()).digest()
        sealing = Keyring((hmac.digest(key, b"sealing", "sha256"),))
        return cls(lifetime=lifetime, public_url=public_url, key=key, keyring=sealing)

    def form_token(self, about: str) -> str:
        """Good in the browser whose cookie `about` is, and in no other."""
        return hmac.new(self.key, about.encode(errors="replace"), "sha256").hexdigest()


def page_of(request: Request) -> Page:
    page: Page = request.app.state.services.page
    return page


def database_of(request: Request) -> Database:
    database: Database = request.app.state.services.database
    return database


# who it is -----------------------------------------------------------------------------------------


class PageRole(RequireRole):
    """RequireRole, of somebody who is signed in; a call with an API key or a token in its headers is as good.

    What a browser sends by itself, and so for any site that asks it to, is not enough to change something: the form
    must have come from here.
    """

    async def authenticate(self, request: Request) -> Actor:
        if has_credentials(request):
            return await auth.authenticate(request)
        actor = await signed_in(request)
        if actor is None:
            raise Unauthenticated("Sign in first.")
        return actor

    async def __call__(self, request: Request) -> Actor:
        actor = await super().__call__(request)
        if request.method not in {"GET", "HEAD"} and not has_credentials(request):
            await require_form(request, session_token(request))
        return actor


PageViewer = Annotated[Actor, Depends(PageRole(Role.VIEWER))]
PageOperator = Annotated[Actor, Depends(PageRole(Role.OPERATOR))]
PageAdmin = Annotated[Actor, Depends(PageRole(Role.ADMIN))]
PageAuditor = Annotated[Actor, Depends(PageRole(Role.AUDITOR))]


def has_credentials(request: Request) -> bool:
    return "Authorization" in request.headers or "X-API-Key" in request.headers


async def signed_in(request: Request) -> Actor | None:
    """None for a stranger, and for somebody whose session has ended."""
    token = session_token(request)
    services: HttpServices = request.app.state.services
    if not token:
        return None
    services.readiness.require()
    clicked = request.headers.get("HX-Trigger") != LIVE
    async with services.database.connection() as conn:
        session = await sessions.find(conn, token, page_of(request).lifetime, used=clicked)
    return None if session is None else _actor(request, session)


def _actor(request: Request, session: Session) -> Actor:
    return Actor(
        id=session.actor,
        name=session.name,
        role=session.role,
        tenant_id=session.tenant_id,
        request_id=request_id_of(request),
        traceparent=traceparent_of(request),
        source_address=request.client.host if request.client else None,
    )


def home(role: Role, tenant_id: str | None) -> str:
    """Where somebody begins. Raises InsufficientScope for who has nothing to see."""
    if role.includes(Role.VIEWER):
        return "/ui/fleet" if tenant_id is None else f"/ui/tenants/{tenant_id}"
    if role is Role.AUDITOR and tenant_id is None:
        return "/ui/audit"
    raise InsufficientScope(f"The role {role} has no page; sign in as viewer, operator, admin or auditor.")


def local(url: str) -> str | None:
    """A page of ours to go on with; None for what leads elsewhere."""
    return url if _LOCAL.fullmatch(url) and "/." not in url and "//" not in url else None


# cookies -------------------------------------------------------------------------------------------


def is_secure(request: Request) -> bool:
    return request.url.scheme == "https" or page_of(request).public_url.startswith("https:")


def session_token(request: Request) -> str:
    """Empty where there is none that could be one."""
    return _cookie(request, _SESSION)


def begin(response: Response, request: Request, token: str) -> None:
    """Lax: a link to a tenant in a mail leads there, and no other site's form carries it."""
    seconds = int(page_of(request).lifetime.longest.total_seconds())
    set_cookie(response, request, _SESSION, token, seconds=seconds)
    drop_cookie(response, request, _VISITOR)


def end(response: Response, request: Request) -> None:
    drop_cookie(response, request, _SESSION)


def visitor_token(request: Request) -> str:
    """Of a stranger's browser, so that the form to sign in with is held to it as well."""
    return known_visitor(request) or secrets.token_urlsafe(32)


def known_visitor(request: Request) -> str:
    """Empty where the browser has none: it has not been shown the form."""
    return _cookie(request, _VISITOR)


def remember_visitor(response: Response, request: Request, token: str) -> None:
    set_cookie(response, request, _VISITOR, token, seconds=None, strict=True)


def _cookie(request: Request, names: tuple[str, str]) -> str:
    found = request.cookies.get(names[is_secure(request)], "")
    return found if _TOKEN.fullmatch(found) else ""


def set_cookie(
    response: Response,
    request: Request,
    names: tuple[str, str],
    value: str,
    *,
    seconds: int | None,
    strict: bool = False,
) -> None:
    secure = is_secure(request)
    response.set_cookie(
        names[secure],
        value,
        max_age=seconds,
        path="/",
        secure=secure,
        httponly=True,
        samesite="strict" if strict else "lax",
    )


def drop_cookie(response: Response, request: Request, names: tuple[str, str]) -> None:
    secure = is_secure(request)
    response.delete_cookie(names[secure], path="/", secure=secure, httponly=True, samesite="lax")


# forms ---------------------------------------------------------------------------------------------


async def require_form(request: Request, about: str) -> None:
    """Raises FormRefused unless the form was made for this very browser, by the cookie that it sends with it."""
    sent = await forms.read(request)
    wanted = page_of(request).form_token(about)
    elsewhere = request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}
    if elsewhere or not about or not hmac.compare_digest(sent.get(FIELD, "").encode(), wanted.encode()):
        raise FormRefused
