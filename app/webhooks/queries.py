"""SQL of webhooks, their secrets, and what they were sent."""

from typing import Any
from uuid import UUID

from asyncpg import Record

from app.db.pool import Connection
from app.integrations.model import Fault
from app.keyring import Sealed
from app.webhooks.model import (
    Delivery,
    DeliveryStatus,
    DisabledReason,
    Event,
    NewWebhook,
    Webhook,
)

_GET = """
SELECT id, url, description, event_types, about_tenant, capability, created_at, created_by, disabled_at,
       disabled_reason, failing_since
  FROM bf_control.webhook WHERE id = $1
"""
_LOCK = """
SELECT id, url, description, event_types, about_tenant, capability, created_at, created_by, disabled_at,
       disabled_reason, failing_since
  FROM bf_control.webhook WHERE id = $1 FOR NO KEY UPDATE
"""
# $1 tenant, $2 and $3 the last row of the page before, $4 how many.
_PAGE = """
SELECT id, url, description, event_types, about_tenant, capability, created_at, created_by, disabled_at,
       disabled_reason, failing_since
  FROM bf_control.webhook
 WHERE ($1::text IS NULL OR about_tenant = $1)
   AND ($2::text IS NULL OR (created_at, id) > ($2::text::timestamptz, $3::uuid))
 ORDER BY created_at, id LIMIT $4
"""
# Two at once would both count the same.
_LOCK_TABLE = "LOCK TABLE bf_control.webhook IN SHARE ROW EXCLUSIVE MODE"
_COUNT = "SELECT count(*) FROM bf_control.webhook WHERE capability IS NULL"
_INSERT = """
INSERT INTO bf_control.webhook (id, url, description, event_types, about_tenant, created_by)
VALUES ($1, $2, $3, $4, $5, $6)
"""
# Its deliveries go a little later: whoever is just recording one holds it, and may want the webhook.
_DELETE = "DELETE FROM bf_control.webhook WHERE id = $1"
_DISABLE = """
UPDATE bf_control.webhook SET disabled_at = now(), disabled_reason = $2
 WHERE id = $1 AND disabled_at IS NULL RETURNING id
"""
_ENABLE = """
UPDATE bf_control.webhook SET disabled_at = NULL, disabled_reason = NULL, failing_since = NULL WHERE id = $1
"""
_SECRETS = """
SELECT id, key_id, ciphertext FROM bf_control.webhook_secret
 WHERE webhook_id = $1 AND (expires_at IS NULL OR expires_at > now()) ORDER BY created_at DESC, id
"""
_SIGNING = """
SELECT key_id, ciphertext FROM bf_control.integration_secret
 WHERE tenant_id = $1 AND capability = $2 AND name = 'signing_secret'
"""
# At most the one before signs beside the new one.
_EXPIRE = """
WITH older AS (DELETE FROM bf_control.webhook_secret WHERE webhook_id = $1 AND expires_at IS NOT NULL)
UPDATE bf_control.webhook_secret SET expires_at = now() + make_interval(secs => $2)
 WHERE webhook_id = $1 AND expires_at IS NULL
"""
_KEEP = """
INSERT INTO bf_control.webhook_secret (id, webhook_id, key_id, ciphertext, created_at)
VALUES ($1, $2, $3, $4, clock_timestamp())
"""
_EVERY = """
SELECT id, webhook_id, key_id, ciphertext FROM bf_control.webhook_secret ORDER BY id FOR UPDATE
"""
_REPLACE = "UPDATE bf_control.webhook_secret SET key_id = $2, ciphertext = $3 WHERE id = $1"
# $1 webhook, $2 status, $3 the last row of the page before, $4 how many.
_DELIVERIES = """
SELECT d.id, d.status, d.attempts, d.queued_at, d.due_at, d.attempted_at, d.latency_ms, d.response_status,
       d.response_body, d.error, e.seq, e.id AS event_id, e.type, e.subject, e.about_tenant AS event_tenant,
       e.occurred_at, e.data
  FROM bf_control.webhook_delivery d JOIN bf_control.event e ON e.seq = d.event_seq
 WHERE d.webhook_id = $1 AND ($2::text IS NULL OR d.status = $2) AND ($3::bigint IS NULL OR d.event_seq < $3)
 ORDER BY d.event_seq DESC LIMIT $4
"""
_DELIVERY = """
SELECT d.id, d.status, d.attempts, d.queued_at, d.due_at, d.attempted_at, d.latency_ms, d.response_status,
       d.response_body, d.error, e.seq, e.id AS event_id, e.type, e.subject, e.about_tenant AS event_tenant,
       e.occurred_at, e.data
  FROM bf_control.webhook_delivery d JOIN bf_control.event e ON e.seq = d.event_seq
 WHERE d.webhook_id = $1 AND d.id = $2
"""
# Whoever is just delivering it loses it, and what they say of it is passed over.
_REQUEUE = """
UPDATE bf_control.webhook_delivery
   SET status = 'pending', attempts = 0, queued_at = now(), due_at = now(), claim_token = NULL
 WHERE webhook_id = $1 AND id = $2
"""
# $1 webhook, $2 since, $3 how many; of more, the time of the first that is left. Of one tenant: not of an earlier one
# that had its id.
_REPLAY = """
WITH told AS (
    SELECT e.seq, e.about_tenant, e.occurred_at, row_number() OVER (ORDER BY e.occurred_at, e.seq) AS place
      FROM bf_control.event e JOIN bf_control.webhook w ON w.id = $1
     WHERE e.occurred_at >= $2 AND e.type <> 'platform.apg.bf.webhook.test'
       AND (w.about_tenant IS NULL OR w.about_tenant = e.about_tenant)
       AND (w.event_types = '{}' OR e.type = ANY (w.event_types))
       AND NOT EXISTS (SELECT FROM bf_control.tenant_tombstone s
                        WHERE s.tenant_id = w.about_tenant AND s.purged_at >= e.occurred_at)
     ORDER BY e.occurred_at, e.seq LIMIT $3 + 1
), queued AS (
    INSERT INTO bf_control.webhook_delivery AS d (webhook_id, event_seq, about_tenant)
    SELECT $1, t.seq, t.about_tenant FROM told t WHERE t.place <= $3
        ON CONFLICT (webhook_id, event_seq) DO UPDATE
       SET status = 'pending', attempts = 0, queued_at = now(), due_at = now(), claim_token = NULL
    RETURNING d.id
)
SELECT (SELECT count(*) FROM queued) AS replayed,
       (SELECT t.occurred_at FROM told t WHERE t.place > $3) AS next_since
"""
_TEST = """
WITH recorded AS (
    INSERT INTO bf_control.event (type, subject, data) VALUES ('platform.apg.bf.webhook.test', $2, $3) RETURNING seq
)
INSERT INTO bf_control.webhook_delivery (webhook_id, event_seq) SELECT $1, seq FROM recorded RETURNING id
"""
_NOTIFY = "SELECT pg_notify('bf_webhook', '')"


async def get(conn: Connection, webhook_id: UUID) -> Webhook | None:
    row = await conn.fetchrow(_GET, webhook_id)
    return None if row is None else webhook_of(row)


async def lock(conn: Connection, webhook_id: UUID) -> Webhook | None:
    row = await conn.fetchrow(_LOCK, webhook_id)
    return None if row is None else webhook_of(row)


async def page(
    conn: Connection, *, about_tenant: str | None, after: tuple[str, str] | None, limit: int
) -> list[Webhook]:
    """Up to `limit` beyond `after`: created_at in ISO 8601, and the id."""
    value, last_id = (None, None) if after is None else (after[0], UUID(after[1]))
    return [webhook_of(row) for row in await conn.fetch(_PAGE, about_tenant, value, last_id, limit)]


async def count(conn: Connection) -> int:
    """Of those that somebody has made; until the transaction ends nobody makes another."""
    await conn.execute(_LOCK_TABLE)
    number: int = await conn.fetchval(_COUNT)
    return number


async def insert(conn: Connection, webhook_id: UUID, new: NewWebhook, *, actor: str) -> None:
    await conn.execute(_INSERT, webhook_id, new.url, new.description, list(new.event_types), new.about_tenant, actor)


async def delete(conn: Connection, webhook_id: UUID) -> None:
    """With its secrets; what is not delivered never will be."""
    await conn.execute(_DELETE, webhook_id)


async def disable(conn: Connection, webhook_id: UUID, reason: DisabledReason) -> bool:
    """Whether it was not already."""
    return await conn.fetchval(_DISABLE, webhook_id, reason) is not None


async def enable(conn: Connection, webhook_id: UUID) -> None:
    await conn.execute(_ENABLE, webhook_id)


async def secrets(conn: Connection, webhook_id: UUID) -> list[tuple[UUID, Sealed]]:
    """Those that sign, the newest first."""
    return [(row["id"], _sealed(row)) for row in await conn.fetch(_SECRETS, webhook_id)]


async def signing_secret(conn: Connection, tenant_id: str, capability: str) -> Sealed | None:
    row = await conn.fetchrow(_SIGNING, tenant_id, capability)
    return None if row is None else _sealed(row)


async def expire_secrets(conn: Connection, webhook_id: UUID, *, seconds: float) -> None:
    await conn.execute(_EXPIRE, webhook_id, seconds)


async def keep_secret(conn: Connection, webhook_id: UUID, secret_id: UUID, sealed: Sealed) -> None:
    await conn.execute(_KEEP, secret_id, webhook_id, sealed.key_id, sealed.ciphertext)


async def every_secret(conn: Connection) -> list[tuple[UUID, UUID, Sealed]]:
    """Webhook, id and secret of all; locked until the transaction ends. There are few."""
    return [(row["webhook_id"], row["id"], _sealed(row)) for row in await conn.fetch(_EVERY)]


async def replace_secret(conn: Connection, secret_id: UUID, sealed: Sealed) -> None:
    await conn.execute(_REPLACE, secret_id, sealed.key_id, sealed.ciphertext)


async def deliveries(
    conn: Connection, webhook_id: UUID, *, status: DeliveryStatus | None, before: int | None, limit: int
) -> list[Delivery]:
    """The newest event first."""
    return [delivery_of(row) for row in await conn.fetch(_DELIVERIES, webhook_id, status, before, limit)]


async def delivery(conn: Connection, webhook_id: UUID, delivery_id: UUID) -> Delivery | None:
    row = await conn.fetchrow(_DELIVERY, webhook_id, delivery_id)
    return None if row is None else delivery_of(row)


async def requeue(conn: Connection, webhook_id: UUID, delivery_id: UUID) -> None:
    await conn.execute(_REQUEUE, webhook_id, delivery_id)


async def replay(conn: Connection, webhook_id: UUID, since: Any, *, limit: int) -> tuple[int, Any]:
    """How many were queued, and from when on to go on where there are more."""
    row = await conn.fetchrow(_REPLAY, webhook_id, since, limit)
    return (0, None) if row is None else (row["replayed"], row["next_since"])


async def test(conn: Connection, webhook_id: UUID, *, subject: str, data: dict[str, Any]) -> UUID:
    """The id of the delivery."""
    made: UUID = await conn.fetchval(_TEST, webhook_id, subject, data)
    return made


async def notify(conn: Connection) -> None:
    """Whoever delivers looks at once."""
    await conn.execute(_NOTIFY)


def webhook_of(row: Record) -> Webhook:
    reason = row["disabled_reason"]
    return Webhook(
        id=row["id"],
        url=row["url"],
        description=row["description"],
        event_types=tuple(row["event_types"]),
        about_tenant=row["about_tenant"],
        capability=row["capability"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        disabled_at=row["disabled_at"],
        disabled_reason=None if reason is None else DisabledReason(reason),
        failing_since=row["failing_since"],
    )


def event_of(row: Record) -> Event:
    return Event(
        seq=row["seq"],
        id=row["event_id"],
        type=row["type"],
        subject=row["subject"],
        about_tenant=row["event_tenant"],
        occurred_at=row["occurred_at"],
        data=row["data"],
    )


def delivery_of(row: Record) -> Delivery:
    error = row["error"]
    return Delivery(
        id=row["id"],
        event=event_of(row),
        status=DeliveryStatus(row["status"]),
        attempts=row["attempts"],
        queued_at=row["queued_at"],
        due_at=row["due_at"],
        attempted_at=row["attempted_at"],
        latency_ms=row["latency_ms"],
        response_status=row["response_status"],
        response_body=row["response_body"],
        fault=None if error is None else Fault(code=error["code"], detail=error["detail"]),
    )


def _sealed(row: Record) -> Sealed:
    return Sealed(key_id=row["key_id"], ciphertext=row["ciphertext"])
