"""GET /v1/tenants/{tenant_id}/health"""

from fastapi import APIRouter
from fastapi.responses import Response

from app.health import tenant as health
from app.health import verdict
from app.health.tenant_schemas import TenantHealth
from app.http import conditional
from app.http.auth import CurrentViewer
from app.http.conditional import IfNoneMatch
from app.http.dependencies import Db, problems
from app.http.openapi import ETAG, NOT_MODIFIED
from app.registry import service as registry

router = APIRouter(prefix="/v1/tenants", tags=["health"])


@router.get(
    "/{tenant_id}/health",
    summary="How a tenant is, why, and what mends it",
    response_model=TenantHealth,
    responses={200: {"headers": ETAG}, 304: NOT_MODIFIED, **problems(400, 404, 422)},
)
async def get_tenant_health(tenant_id: str, db: Db, _: CurrentViewer, known: IfNoneMatch) -> Response:
    """From the registry, the last verification and isolation check, counters, and what collectors have seen: nothing of
    the tenant's own schema is read. The growth is that of its history, and with each limit is the day on which that
    reaches it.
    """
    async with db.transaction() as conn:
        tenant = await registry.require(conn, tenant_id)
        seen = await health.seen(conn, tenant)
        measured = await health.measured(conn, tenant)
    findings = verdict.of_tenant(seen) | verdict.of_measured(tenant, measured)
    return conditional.answer(TenantHealth.of(tenant.tenant_id, findings, measured), known)
