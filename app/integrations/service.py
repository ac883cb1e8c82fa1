"""Rules of integrations: what may be seen is in tenant_config, what may not is encrypted beside it."""

from collections.abc import Sequence
from typing import Any

from app.audit import service as audit
from app.audit.model import Origin
from app.db.pool import Connection
from app.errors import Conflict, FieldError, Invalid, NotFound
from app.integrations import queries
from app.integrations.endpoint import Endpoint, Policy
from app.integrations.model import Capability, Change, Integration
from app.keyring import CannotDecrypt, Keyring, Sealed
from app.registry import queries as registry
from app.registry.model import SealedSecret, Tenant


class IntegrationNotFound(NotFound):
    code = "integration_not_found"
    title = "Integration not found"


class NoIntegrationEndpoint(Conflict):
    code = "integration_without_endpoint"
    title = "The integration has no endpoint"


async def every(conn: Connection, tenant: Tenant) -> list[Integration]:
    """By capability; none while the tenant has no schema."""
    if tenant.schema_version is None:
        return []
    stored = await queries.stored(conn, tenant.tenant_id)
    credentials = await queries.credentials(conn, tenant.tenant_id)
    return [
        Integration(capability=name, stored=document, credentials=credentials.get(name, ()))
        for name, document in stored.items()
    ]


async def get(conn: Connection, tenant: Tenant, capability: str) -> Integration | None:
    if tenant.schema_version is None or "\0" in capability:
        return None
    stored = await queries.stored(conn, tenant.tenant_id, capability)
    if capability not in stored:
        return None
    credentials = await queries.credentials(conn, tenant.tenant_id, capability)
    return Integration(capability=capability, stored=stored[capability], credentials=credentials.get(capability, ()))


async def require(conn: Connection, tenant: Tenant, capability: str) -> Integration:
    """Raises IntegrationNotFound."""
    found = await get(conn, tenant, capability)
    if found is None:
        known = capability in set(Capability)
        why = "has none" if known else f"has none, and there are only {', '.join(sorted(Capability))}"
        raise IntegrationNotFound(f"Of this capability, tenant {tenant.tenant_id} {why}.")
    return found


def endpoint_of(integration: Integration) -> str:
    """As it is stored. Raises NoIntegrationEndpoint."""
    stored = integration.stored
    endpoint = stored.get("endpoint") if isinstance(stored, dict) else None
    if not isinstance(endpoint, str):
        raise NoIntegrationEndpoint("There is nothing to try: set an endpoint first.")
    return endpoint


async def put(
    conn: Connection,
    tenant: Tenant,
    capability: Capability,
    change: Change,
    *,
    policy: Policy,
    keyring: Keyring,
    origin: Origin,
) -> Integration:
    """In the caller's transaction; `tenant` is locked and may be changed.

    Raises Invalid for an endpoint that is not allowed, NoSecretKeys where there is no key to encrypt with.
    """
    await _require_valid(conn, change.settings, policy)
    before = await get(conn, tenant, capability)
    wanted = await _differing(conn, tenant, capability, change, keyring)
    if before is not None and before.stored == change.settings and not wanted:
        return before
    secrets = [
        SealedSecret(capability=capability, name=name, sealed=keyring.seal(secret, tenant.tenant_id, capability, name))
        for name, secret in sorted(wanted.items())
        if secret is not None
    ]
    await queries.store(conn, tenant.tenant_id, capability, change.settings, actor=origin.actor)
    for secret in secrets:
        await queries.keep_secret(conn, tenant.tenant_id, secret, actor=origin.actor)
    removed = sorted(name for name, secret in wanted.items() if secret is None)
    await queries.forget_secrets(conn, tenant.tenant_id, capability, removed)
    await audit.record(
        conn,
        origin,
        action="integration.change",
        target=_target(tenant, capability),
        outcome="succeeded",
        before=None if before is None else _seen(before),
        after={
            "settings": change.settings,
            "credentials_set": [secret.name for secret in secrets],
            "credentials_removed": removed,
        },
    )
    return await require(conn, tenant, capability)


async def _require_valid(conn: Connection, settings: dict[str, Any], policy: Policy) -> None:
    errors = endpoint_errors(settings, policy)
    errors += [
        FieldError(pointer=f"/{name}", detail="must not hold credentials")
        for name in await registry.credentials_in(conn, settings)
    ]
    if errors:
        raise Invalid("The request is not valid; see errors.", errors=errors)


def endpoint_errors(settings: dict[str, Any], policy: Policy, *, within: str = "") -> list[FieldError]:
    """Of settings that are otherwise valid; `within` is the pointer to them."""
    text = settings.get("endpoint")
    refusal = None if text is None else policy.refusal(Endpoint.parse(text))
    return [] if refusal is None else [FieldError(pointer=f"{within}/endpoint", detail=refusal)]


async def _differing(
    conn: Connection, tenant: Tenant, capability: str, change: Change, keyring: Keyring
) -> dict[str, str | None]:
    """Of the credentials that are named, those that are not so already."""
    if not change.credentials:
        return {}
    sealed = await queries.sealed(conn, tenant.tenant_id, capability, sorted(change.credentials))
    return {
        name: secret
        for name, secret in change.credentials.items()
        if (name in sealed if secret is None else not _is(keyring, sealed.get(name), secret, tenant, capability, name))
    }


def _is(keyring: Keyring, sealed: Sealed | None, secret: str, tenant: Tenant, capability: str, name: str) -> bool:
    if sealed is None:
        return False
    try:
        return keyring.open(sealed, tenant.tenant_id, capability, name) == secret
    except CannotDecrypt:
        return False  # it is put right by what is sent now


async def delete(conn: Connection, tenant: Tenant, capability: str, *, origin: Origin) -> None:
    """With its secrets, in the caller's transaction; `tenant` is locked and may be changed.

    Raises IntegrationNotFound.
    """
    before = await require(conn, tenant, capability)
    await queries.store(conn, tenant.tenant_id, capability, None, actor=origin.actor)
    await queries.forget_secrets(conn, tenant.tenant_id, capability)
    await audit.record(
        conn,
        origin,
        action="integration.delete",
        target=_target(tenant, capability),
        outcome="succeeded",
        before=_seen(before),
    )


async def note_read(conn: Connection, tenant: Tenant, found: Sequence[Integration], *, origin: Origin) -> None:
    """Records that somebody saw which credentials are set. Of integrations without any there is nothing to record."""
    seen = {one.capability: [known.name for known in one.credentials] for one in found if one.credentials}
    if seen:
        await audit.record(
            conn,
            origin,
            action="secrets.read",
            target=f"tenant/{tenant.tenant_id}/integrations",
            outcome="succeeded",
            after={"credentials": seen},
        )


def _target(tenant: Tenant, capability: str) -> str:
    return f"tenant/{tenant.tenant_id}/integration/{capability}"


def _seen(integration: Integration) -> dict[str, Any]:
    return {"settings": integration.stored, "credentials": [known.name for known in integration.credentials]}
