"""Who calls, and whether a route lets them. Every route declares its role by one of these dependencies."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from fastapi.security.base import SecurityBase

from app.apikeys.cache import KeyCache
from app.apikeys.model import ApiKey, Role
from app.errors import InsufficientScope, TenantNotFound, Unauthenticated, Unavailable
from app.http.dependencies import HttpServices
from app.http.ids import request_id_of, traceparent_of
from app.log import about
from app.tokens.provider import Caller
from app.tokens.verifier import looks_like_token


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The caller of a request: `id` is stable and goes into the audit trail, `name` is for people."""

    id: str
    name: str
    role: Role
    tenant_id: str | None
    request_id: str
    traceparent: str | None
    source_address: str | None


class ForeignTenant(TenantNotFound):
    """To a caller of one tenant, every other is as unknown as one that there is not."""

    denial = True


class RequireRole(SecurityBase):
    """A dependency that answers 401 to strangers and 403 to callers without the role.

    A caller of one tenant has its role where the path names that tenant: any other is 404, as if there were none, and
    what is not about one tenant 403. There, `own` is enough. Where the tenant is named `in_body`, the route itself asks
    is_foreign(), once it knows which one it is asked about. What must be told when the database is away `outlasts` it:
    a key that was good is taken meanwhile.
    """

    # What openapi.json says of it. The headers are read here: as dependencies of their own they would cost a request
    # more than all the rest of its authentication.
    model = HTTPBearerModel(description="An API key, or an access token: `Authorization: Bearer KEY`")
    scheme_name = "HTTPBearer"

    def __init__(self, role: Role, *, own: Role | None = None, in_body: bool = False, outlasts: bool = False) -> None:
        self.role: Final = role
        self.own: Final = own
        self.in_body: Final = in_body
        self.outlasts: Final = outlasts

    async def __call__(self, request: Request) -> Actor:
        asked = request.path_params
        about(tenant_id=asked.get("tenant_id"), operation_id=asked.get("operation_id"))
        actor = await self.authenticate(request)
        request.state.actor = actor  # whoever is refused from here on is known to the audit trail
        request.state.caller = actor.id  # for RateLimits
        if not self.in_body:
            _require_own(actor, asked.get("tenant_id"))
        enough = actor.role.includes(self.role) or (actor.tenant_id is not None and actor.role is self.own)
        if not enough:
            detail = f"This call needs the role {self.role}; the caller's is {actor.role}."
            raise InsufficientScope(detail, needed=self.role)
        return actor

    async def authenticate(self, request: Request) -> Actor:
        """Who calls. Raises Unauthenticated."""
        return await authenticate(request, outlasts=self.outlasts)


def is_foreign(actor: Actor, asked: str) -> bool:
    """Whether the caller is of one tenant, and this is another."""
    return actor.tenant_id not in (None, asked)


def _require_own(actor: Actor, asked: str | None) -> None:
    """Raises ForeignTenant, and InsufficientScope where the call is about no single tenant."""
    if actor.tenant_id is None:
        return
    if asked is None:
        detail = f"The caller is of tenant {actor.tenant_id} alone; this call is not about one tenant."
        raise InsufficientScope(detail)
    if is_foreign(actor, asked):
        raise ForeignTenant


async def public() -> None:
    """Declares that a route needs no role."""


CurrentViewer = Annotated[Actor, Depends(RequireRole(Role.VIEWER))]
CurrentViewerOrOwnReader = Annotated[Actor, Depends(RequireRole(Role.VIEWER, own=Role.READER))]
CurrentOperator = Annotated[Actor, Depends(RequireRole(Role.OPERATOR))]
CurrentAdmin = Annotated[Actor, Depends(RequireRole(Role.ADMIN))]
CurrentAuditor = Annotated[Actor, Depends(RequireRole(Role.AUDITOR))]
CurrentMetrics = Annotated[Actor, Depends(RequireRole(Role.METRICS, outlasts=True))]
# Of calls that name the tenant in their body.
CurrentReader = Annotated[Actor, Depends(RequireRole(Role.READER, in_body=True))]
Public = Depends(public)


def is_known(request: Request) -> bool:
    """Whether it takes no database to say who calls."""
    services: HttpServices = request.app.state.services
    _, presented = _presented(request)
    return presented is not None and services.known_keys.holds(presented)


def _presented(request: Request) -> tuple[str, str | None]:
    """What is in Authorization, and what goes for a key."""
    headers = request.headers
    scheme, _, bearer = headers.get("Authorization", "").partition(" ")
    bearer = bearer.strip(" ") if scheme.lower() == "bearer" else ""
    return bearer, bearer or headers.get("X-API-Key")


async def authenticate(request: Request, *, outlasts: bool = False) -> Actor:
    """By the headers alone. Raises Unauthenticated."""
    services: HttpServices = request.app.state.services
    bearer, presented = _presented(request)
    if presented is None:
        also = "" if services.access_tokens is None else " An access token goes into Authorization, too."
        raise Unauthenticated(f"Send an API key: Authorization: Bearer KEY, or X-API-Key: KEY.{also}")
    services.readiness.require()
    if services.access_tokens is not None and bearer and looks_like_token(bearer):
        caller = await services.access_tokens.verify(bearer)
        return _actor(request, f"oidc:{caller.subject}", caller)
    key = await _key(services.known_keys, presented, outlasts=outlasts)
    return _actor(request, f"key:{key.id}", key)


async def _key(known: KeyCache, presented: str, *, outlasts: bool) -> ApiKey:
    try:
        return await known.verify(presented)
    except Unavailable:
        remembered = known.remembered(presented) if outlasts else None
        if remembered is None:
            raise
        return remembered


def _actor(request: Request, actor_id: str, known: ApiKey | Caller) -> Actor:
    return Actor(
        id=actor_id,
        name=known.name,
        role=known.role,
        tenant_id=known.tenant_id,
        request_id=request_id_of(request),
        traceparent=traceparent_of(request),
        source_address=request.client.host if request.client else None,
    )


class UndeclaredRoleError(RuntimeError):
    """A route without a role: the application does not start."""


def declaration(route: RouteContext) -> RequireRole | None:
    """What the route declares; None where that is public. Raises UndeclaredRoleError where it is nothing, or two."""
    calls = list(_calls(route.dependant))
    roles = [call for call in calls if isinstance(call, RequireRole)]
    if len(roles) == 1:
        return roles[0]
    if not roles and public in calls:
        return None
    raise UndeclaredRoleError(f"{sorted(route.methods or ())} {route.path} declares {len(roles)} roles; one is needed")


def require_declared_roles(app: FastAPI) -> None:
    """Raises UndeclaredRoleError for the first route that declares none."""
    for route in api_routes(app):
        declaration(route)


def api_routes(app: FastAPI) -> Iterator[RouteContext]:
    """Every route of ours, those of included routers too."""
    return (route for route in iter_route_contexts(app.routes) if isinstance(route.original_route, APIRoute))


def _calls(dependant: Dependant) -> Iterator[Any]:
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _calls(dependency)
