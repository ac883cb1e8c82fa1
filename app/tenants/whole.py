"""The whole view of a tenant, from the domains that know its parts."""

from app.config import queries as config
from app.config.model import TenantSettings
from app.db.pool import Connection
from app.features import queries as features
from app.features.model import TenantFeature
from app.health import tenant as health
from app.health import verdict
from app.health.tenant_schemas import TenantVerdict
from app.registry.model import Tenant


async def parts(conn: Connection, tenant: Tenant) -> tuple[TenantSettings | None, list[TenantFeature], TenantVerdict]:
    """Configuration, None until there is a schema, features, and what is to be said of the tenant's health.

    Of that only what changes with the tenant: the view has an ETag, which guards changes.
    """
    settings = None if tenant.schema_version is None else await config.get(conn, tenant.tenant_id)
    own = await features.of_tenant(conn, tenant.tenant_id)
    return settings, own, TenantVerdict.judged(verdict.of_tenant(await health.seen(conn, tenant)))
