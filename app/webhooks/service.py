"""Rules of webhooks: who is told of events, and by which secret they know that it was us."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from app.audit import service as audit
from app.audit.model import Origin
from app.db.pages import cut
from app.db.pool import Connection
from app.errors import Conflict, FieldError, Invalid, NotFound
from app.integrations.endpoint import Endpoint, Policy
from app.keyring import CannotDecrypt, Keyring, Sealed
from app.registry import service as registry
from app.registry.service import TenantNotFound
from app.webhooks import queries, signing
from app.webhooks.model import (
    MOST_REPLAYED,
    MOST_WEBHOOKS,
    OVERLAP,
    Delivery,
    DeliveryStatus,
    DisabledReason,
    Issued,
    NewWebhook,
    Webhook,
)


class WebhookNotFound(NotFound):
    code = "webhook_not_found"
    title = "Webhook not found"


class DeliveryNotFound(NotFound):
    code = "delivery_not_found"
    title = "Delivery not found"


class TooManyWebhooks(Conflict):
    code = "too_many_webhooks"
    title = "There are too many webhooks"


class WebhookOfIntegration(Conflict):
    code = "webhook_of_integration"
    title = "The webhook is an integration's"


class TenantPurged(Conflict):
    code = "webhook_tenant_purged"
    title = "The webhook's tenant was purged"


class NoSigningSecret(Conflict):
    code = "signing_secret_missing"
    title = "There is no secret to sign with"


def webhook_id(text: str) -> UUID:
    """Raises WebhookNotFound for what is no id."""
    try:
        return UUID(text)
    except ValueError:
        raise WebhookNotFound(f"There is no webhook {text[:36]}.") from None


async def require(conn: Connection, wanted: UUID, *, lock: bool = False) -> Webhook:
    """Raises WebhookNotFound."""
    found = await (queries.lock if lock else queries.get)(conn, wanted)
    if found is None:
        raise WebhookNotFound(f"There is no webhook {wanted}.")
    return found


async def page(
    conn: Connection, *, tenant_id: str | None, after: tuple[str, str] | None, size: int
) -> tuple[list[Webhook], tuple[str, str] | None]:
    """The oldest first, and where the next page begins."""
    found = await queries.page(conn, about_tenant=tenant_id, after=after, limit=size + 1)
    return cut(found, size, lambda last: (last.created_at.isoformat(), str(last.id)))


async def create(conn: Connection, new: NewWebhook, *, policy: Policy, keyring: Keyring, origin: Origin) -> Issued:
    """With a secret of its own. Raises Invalid for a URL that is not allowed or a tenant that there is not,
    NoSecretKeys, TooManyWebhooks.
    """
    refusal = policy.refusal(Endpoint.parse(new.url))
    if refusal is not None:
        raise Invalid("The request is not valid; see errors.", errors=[FieldError(pointer="/url", detail=refusal)])
    if new.about_tenant is not None:
        try:
            # Locked, so that it is not purged meanwhile, and its next one told of.
            await registry.require(conn, new.about_tenant, lock=True)
        except TenantNotFound as error:
            fault = FieldError(pointer="/tenant_id", detail="must be a tenant that there is")
            raise Invalid("The request is not valid; see errors.", errors=[fault]) from error
    made, secret = uuid4(), signing.new_secret()
    sealed = _seal(keyring, made, secret)
    if await queries.count(conn) >= MOST_WEBHOOKS:
        raise TooManyWebhooks(f"There are {MOST_WEBHOOKS} webhooks; delete one first.")
    await queries.insert(conn, made, new, actor=origin.actor)
    await queries.keep_secret(conn, made, *sealed)
    webhook = await require(conn, made)
    await _record(conn, origin, "webhook.create", webhook, after=_seen(webhook))
    return Issued(webhook=webhook, secret=secret)


async def delete(conn: Connection, webhook: Webhook, *, origin: Origin) -> None:
    """With what was not delivered yet. Raises WebhookOfIntegration."""
    _require_own(webhook)
    await queries.delete(conn, webhook.id)
    await _record(conn, origin, "webhook.delete", webhook, before=_seen(webhook))


async def rotate(
    conn: Connection, webhook: Webhook, *, keyring: Keyring, origin: Origin, overlap: timedelta = OVERLAP
) -> Issued:
    """Another secret; for the time of the `overlap` the one before signs beside it.

    Raises WebhookOfIntegration, NoSecretKeys.
    """
    _require_own(webhook)
    secret = signing.new_secret()
    sealed = _seal(keyring, webhook.id, secret)
    await queries.expire_secrets(conn, webhook.id, seconds=overlap.total_seconds())
    await queries.keep_secret(conn, webhook.id, *sealed)
    await _record(conn, origin, "webhook.rotate", webhook, after={"overlap_seconds": int(overlap.total_seconds())})
    return Issued(webhook=webhook, secret=secret)


async def enable(conn: Connection, webhook: Webhook, *, origin: Origin) -> Webhook:
    """What waits is sent now; what happened meanwhile is for a replay. Raises TenantPurged."""
    if webhook.disabled_reason is DisabledReason.TENANT_PURGED:
        raise TenantPurged("Another tenant may have its id by now: make another webhook.")
    if webhook.disabled_at is None:
        return webhook
    await queries.enable(conn, webhook.id)
    await queries.notify(conn)
    before = {"disabled_reason": webhook.disabled_reason}
    await _record(conn, origin, "webhook.enable", webhook, before=before)
    return await require(conn, webhook.id)


async def test(conn: Connection, webhook: Webhook, *, origin: Origin) -> Delivery:
    """An event for it alone, of a type that it need not have asked for."""
    data = {"webhook_id": str(webhook.id), "actor": origin.actor}
    made = await queries.test(conn, webhook.id, subject=_target(webhook), data=data)
    await queries.notify(conn)
    await _record(conn, origin, "webhook.test", webhook, after={"delivery_id": str(made)})
    return await require_delivery(conn, webhook, made)


async def deliveries(
    conn: Connection, webhook: Webhook, *, status: DeliveryStatus | None, before: int | None, size: int
) -> tuple[list[Delivery], int | None]:
    """The newest event first, and the number of the last one where there are more."""
    found = await queries.deliveries(conn, webhook.id, status=status, before=before, limit=size + 1)
    return cut(found, size, lambda last: last.event.seq)


async def require_delivery(conn: Connection, webhook: Webhook, wanted: UUID) -> Delivery:
    """Raises DeliveryNotFound."""
    found = await queries.delivery(conn, webhook.id, wanted)
    if found is None:
        raise DeliveryNotFound(f"Webhook {webhook.id} has no delivery {wanted}.")
    return found


async def replay_one(conn: Connection, webhook: Webhook, wanted: UUID, *, origin: Origin) -> None:
    """Whatever became of it. Raises DeliveryNotFound."""
    await require_delivery(conn, webhook, wanted)
    await queries.requeue(conn, webhook.id, wanted)
    await queries.notify(conn)
    await _record(conn, origin, "webhook.replay", webhook, after={"delivery_id": str(wanted), "replayed": 1})


async def replay_since(
    conn: Connection, webhook: Webhook, since: datetime, *, origin: Origin, limit: int = MOST_REPLAYED
) -> tuple[int, datetime | None]:
    """Every event since then that it asks for, delivered or not, and those from before it was made; the first `limit`.

    Returns how many, and from when on to go on where there are more. Raises TenantPurged, NoSigningSecret.
    """
    if webhook.disabled_reason is DisabledReason.TENANT_PURGED:
        raise TenantPurged("Another tenant may have its id by now: make another webhook.")
    if webhook.capability is not None and await queries.signing_secret(conn, *_integration(webhook)) is None:
        raise NoSigningSecret("The integration has no signing_secret: set one first.")
    replayed, following = await queries.replay(conn, webhook.id, since, limit=limit)
    await queries.notify(conn)
    after = {"since": since.isoformat(), "replayed": replayed}
    await _record(conn, origin, "webhook.replay", webhook, after=after)
    return replayed, following


async def signing_keys(conn: Connection, keyring: Keyring, webhook: Webhook) -> list[bytes]:
    """Those that sign now, the newest first. Raises NoSigningSecret, CannotDecrypt."""
    if webhook.capability is None:
        found = [
            keyring.open(sealed, "webhook", str(webhook.id), str(secret_id))
            for secret_id, sealed in await queries.secrets(conn, webhook.id)
        ]
    else:
        tenant_id, capability = _integration(webhook)
        sealed = await queries.signing_secret(conn, tenant_id, capability)
        found = [] if sealed is None else [keyring.open(sealed, tenant_id, capability, "signing_secret")]
    if not found:
        raise NoSigningSecret("There is no secret to sign with.")
    try:
        return [signing.key_of(secret) for secret in found]
    except ValueError as error:
        raise NoSigningSecret(f"It cannot be signed: {error}.") from None


async def reencrypt(conn: Connection, keyring: Keyring) -> tuple[int, int, list[tuple[UUID, str]]]:
    """Every secret under the first key: how many were not, how many were, and of which webhooks none opens it, and why.

    Raises NoSecretKeys.
    """
    rotated, current, unreadable = 0, 0, []
    for webhook, secret_id, sealed in await queries.every_secret(conn):
        context = ("webhook", str(webhook), str(secret_id))
        try:
            secret = keyring.open(sealed, *context)
        except CannotDecrypt as error:
            unreadable.append((webhook, error.detail))
            continue
        if sealed.key_id == keyring.current:
            current += 1
        else:
            await queries.replace_secret(conn, secret_id, keyring.seal(secret, *context))
            rotated += 1
    return rotated, current, unreadable


def _integration(webhook: Webhook) -> tuple[str, str]:
    return webhook.about_tenant or "", webhook.capability or ""


def _seal(keyring: Keyring, webhook: UUID, secret: str) -> tuple[UUID, Sealed]:
    secret_id = uuid4()
    return secret_id, keyring.seal(secret, "webhook", str(webhook), str(secret_id))


def _require_own(webhook: Webhook) -> None:
    if webhook.capability is not None:
        path = f"/v1/tenants/{webhook.about_tenant}/integrations/{webhook.capability}"
        raise WebhookOfIntegration(f"It stands for an integration: change {path} instead.")


def _seen(webhook: Webhook) -> dict[str, Any]:
    return {"url": webhook.url, "event_types": list(webhook.event_types), "tenant_id": webhook.about_tenant}


def _target(webhook: Webhook) -> str:
    return f"webhook/{webhook.id}"


async def _record(
    conn: Connection,
    origin: Origin,
    action: str,
    webhook: Webhook,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    await audit.record(
        conn, origin, action=action, target=_target(webhook), outcome="succeeded", before=before, after=after
    )
