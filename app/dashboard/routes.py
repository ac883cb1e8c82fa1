"""GET / and everything under /ui: the operator's page."""

from fastapi import APIRouter, Depends

from app.dashboard import assets, audit, creating, fleet, operations, signing_in, tenant, tenants
from app.http.query import refuse_unknown_query

router = APIRouter(include_in_schema=False)
# Issuers send back what they like beside what they were asked for.
router.include_router(signing_in.callback)
for _router in (
    assets.router,
    signing_in.router,
    fleet.router,
    creating.router,
    tenants.router,
    tenant.router,
    operations.router,
    audit.router,
):
    router.include_router(_router, dependencies=[Depends(refuse_unknown_query)])
