"""Who calls, and whether a route lets them. Every route declares its role by one of these dependencies."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from app.apikeys.model import Role
from app.errors import Denied, Unauthenticated
from app.http.dependencies import HttpServices
from app.http.ids import request_id_of, traceparent_of

_bearer: Final = HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer KEY`")
_header: Final = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key")


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


class RequireRole:
    """A dependency that answers 401 to strangers and 403 to callers without the role.

    A key for one tenant has its role where the path names that tenant, and nowhere else. There, `own` is enough. Where
    the tenant is named `in_body`, the route itself calls require_own(), once it knows which one it is asked about.
    """

    def __init__(self, role: Role, *, own: Role | None = None, in_body: bool = False) -> None:
        self.role: Final = role
        self.own: Final = own
        self._in_body = in_body

    async def __call__(
        self,
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        header: Annotated[str | None, Security(_header)],
    ) -> Actor:
        actor = await _authenticate(request, bearer.credentials if bearer else header)
        request.state.actor = actor  # whoever is refused from here on is known to the audit trail
        enough = actor.role.includes(self.role) or (actor.tenant_id is not None and actor.role is self.own)
        if not enough:
            raise Denied(f"This call needs the role {self.role}; the key's is {actor.role}.")
        if not self._in_body:
            require_own(actor, request.path_params.get("tenant_id"))
        return actor


def require_own(actor: Actor, asked: str | None) -> None:
    """Raises Denied where the key is for one tenant, and the call about another, or about none."""
    if actor.tenant_id is None:
        return
    if asked is None:
        raise Denied(f"The key is for tenant {actor.tenant_id} alone; this call is not about one tenant.")
    if asked != actor.tenant_id:
        raise Denied(f"The key is for tenant {actor.tenant_id} alone; this call is about another.")


async def public() -> None:
    """Declares that a route needs no role."""


CurrentViewer = Annotated[Actor, Depends(RequireRole(Role.VIEWER))]
CurrentViewerOrOwnReader = Annotated[Actor, Depends(RequireRole(Role.VIEWER, own=Role.READER))]
CurrentOperator = Annotated[Actor, Depends(RequireRole(Role.OPERATOR))]
CurrentAdmin = Annotated[Actor, Depends(RequireRole(Role.ADMIN))]
CurrentAuditor = Annotated[Actor, Depends(RequireRole(Role.AUDITOR))]
# Of calls that name the tenant in their body.
CurrentReader = Annotated[Actor, Depends(RequireRole(Role.READER, in_body=True))]
Public = Depends(public)


async def _authenticate(request: Request, presented: str | None) -> Actor:
    if presented is None:
        raise Unauthenticated("Send an API key: Authorization: Bearer KEY, or X-API-Key: KEY.")
    services: HttpServices = request.app.state.services
    services.readiness.require()
    async with services.database.connection() as conn:
        key = await services.keys.verify(conn, presented)
    return Actor(
        id=f"key:{key.id}",
        name=key.name,
        role=key.role,
        tenant_id=key.tenant_id,
        request_id=request_id_of(request),
        traceparent=traceparent_of(request),
        source_address=request.client.host if request.client else None,
    )


class UndeclaredRoleError(RuntimeError):
    """A route without a role: the application does not start."""


def declared_role(route: RouteContext) -> Role | None:
    """The route's role; None where it is declared public. Raises UndeclaredRoleError where neither is."""
    calls = list(_calls(route.dependant))
    roles = [call.role for call in calls if isinstance(call, RequireRole)]
    if len(roles) == 1:
        return roles[0]
    if not roles and public in calls:
        return None
    raise UndeclaredRoleError(f"{sorted(route.methods or ())} {route.path} declares {len(roles)} roles; one is needed")


def require_declared_roles(app: FastAPI) -> None:
    """Raises UndeclaredRoleError for the first route that declares none."""
    for route in api_routes(app):
        declared_role(route)


def api_routes(app: FastAPI) -> Iterator[RouteContext]:
    """Every route of ours, those of included routers too."""
    return (route for route in iter_route_contexts(app.routes) if isinstance(route.original_route, APIRoute))


def _calls(dependant: Dependant) -> Iterator[Any]:
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _calls(dependency)
