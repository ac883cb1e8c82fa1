"""The whole view of a tenant, from the domains that know its parts."""

from uuid import UUID

from app.config import queries as config
from app.config.model import TenantSettings
from app.db.pool import Connection
from app.features import queries as features
from app.features.model import TenantFeature
from app.health import verdict
from app.health.schemas import Health
from app.operations import queries as operations
from app.registry.model import Tenant
from app.schema import queries as schema


async def parts(conn: Connection, tenant: Tenant) -> tuple[TenantSettings | None, list[TenantFeature], Health]:
    """Configuration, None until there is a schema, features, and what is to be said of the tenant's health."""
    settings = None if tenant.schema_version is None else await config.get(conn, tenant.tenant_id)
    own = await features.of_tenant(conn, tenant.tenant_id)
    last = tenant.last_operation_id
    operation = None if last is None else await operations.get(conn, UUID(last))
    latest = await schema.latest_tenant_version(conn)
    return settings, own, verdict.of_tenant(tenant, latest_version=latest, last_operation=operation)
