"""SQL of those who deliver: what is due, whose turn it is, and how it went."""

from datetime import timedelta
from uuid import UUID

from asyncpg import Record

from app.db.pool import Connection
from app.webhooks.model import Attempt, Claimed, DeliveryStatus
from app.webhooks.queries import event_of, webhook_of

# $1 how many, $2 of one webhook, $3 for how many seconds, $4 how long and $5 how often one is tried.
# Webhooks with something due are found one by one, by their index: one that has thousands waiting is one row. Of each,
# one event of a tenant at a time, in their order; where it fails, one at all. A webhook is locked, so that over all
# workers together no more than that are under way; one that is locked is being looked after.
_CLAIM = """
WITH RECURSIVE waiting AS (
    (SELECT d.webhook_id FROM bf_control.webhook_delivery d WHERE d.status = 'pending' ORDER BY d.webhook_id LIMIT 1)
    UNION ALL
    SELECT (SELECT d.webhook_id FROM bf_control.webhook_delivery d
             WHERE d.status = 'pending' AND d.webhook_id > w.webhook_id ORDER BY d.webhook_id LIMIT 1)
      FROM waiting w WHERE w.webhook_id IS NOT NULL
), webhook AS MATERIALIZED (
    SELECT w.id, w.url, w.description, w.event_types, w.about_tenant, w.capability, w.created_at, w.created_by,
           w.disabled_at, w.disabled_reason, w.failing_since
      FROM bf_control.webhook w
     WHERE w.id IN (SELECT x.webhook_id FROM waiting x)
       AND (w.disabled_at IS NULL OR w.disabled_reason = 'tenant_purged')
       AND EXISTS (SELECT FROM bf_control.webhook_delivery d
                    WHERE d.webhook_id = w.id AND d.status = 'pending' AND d.due_at <= now())
       FOR NO KEY UPDATE SKIP LOCKED
), turn AS (
    SELECT f.id, f.place
      FROM webhook w
     CROSS JOIN LATERAL (
         SELECT CASE WHEN w.failing_since IS NULL THEN $2::integer ELSE 1 END - count(*) AS free
           FROM bf_control.webhook_delivery c
          WHERE c.webhook_id = w.id AND c.claim_token IS NOT NULL AND c.due_at > now()) AS r
     CROSS JOIN LATERAL (
         SELECT o.id, row_number() OVER (ORDER BY o.event_seq) AS place
           FROM (SELECT DISTINCT ON (n.about_tenant) n.id, n.event_seq
                   FROM (SELECT d.id, d.event_seq, d.about_tenant FROM bf_control.webhook_delivery d
                          WHERE d.webhook_id = w.id AND d.status = 'pending' AND d.due_at <= now()
                          ORDER BY d.due_at, d.event_seq LIMIT 100) AS n
                  WHERE NOT EXISTS (SELECT FROM bf_control.webhook_delivery c
                                     WHERE c.webhook_id = w.id AND c.claim_token IS NOT NULL AND c.due_at > now()
                                       AND c.about_tenant IS NOT DISTINCT FROM n.about_tenant)
                  ORDER BY n.about_tenant, n.event_seq) AS o) AS f
     WHERE f.place <= r.free
     ORDER BY f.place LIMIT $1
), claimed AS (
    UPDATE bf_control.webhook_delivery d
       SET claim_token = gen_random_uuid(), attempts = d.attempts + 1, due_at = now() + make_interval(secs => $3),
           attempted_at = now()
     WHERE d.id IN (SELECT t.id FROM turn t)
       AND d.status = 'pending' AND d.due_at <= now() -- still, where another worker was a moment faster
    RETURNING d.id AS delivery_id, d.claim_token, d.attempts, d.event_seq, d.webhook_id,
              d.queued_at + $4::interval <= now() OR d.attempts >= $5 AS overdue
)
SELECT c.delivery_id, c.claim_token, c.attempts, c.overdue, w.id, w.url, w.description, w.event_types, w.about_tenant,
       w.capability, w.created_at, w.created_by, w.disabled_at, w.disabled_reason, w.failing_since,
       e.seq, e.id AS event_id, e.type, e.subject, e.about_tenant AS event_tenant, e.occurred_at, e.data
  FROM claimed c JOIN webhook w ON w.id = c.webhook_id JOIN bf_control.event e ON e.seq = c.event_seq
 ORDER BY e.seq
"""
_RECORD = """
UPDATE bf_control.webhook_delivery
   SET status = $3, claim_token = NULL, due_at = now() + make_interval(secs => $4), latency_ms = $5,
       response_status = $6, response_body = $7, error = $8
 WHERE id = $1 AND claim_token = $2 RETURNING webhook_id
"""
# Of a webhook that takes everything there is nothing to write.
_FAILING = "UPDATE bf_control.webhook SET failing_since = now() WHERE id = $1 AND failing_since IS NULL"
_TAKING = "UPDATE bf_control.webhook SET failing_since = NULL WHERE id = $1 AND failing_since IS NOT NULL"
# Seconds until something that is not due yet will be, or what somebody has claimed is anybody's again.
_NEXT = """
WITH RECURSIVE waiting AS (
    (SELECT d.webhook_id FROM bf_control.webhook_delivery d WHERE d.status = 'pending' ORDER BY d.webhook_id LIMIT 1)
    UNION ALL
    SELECT (SELECT d.webhook_id FROM bf_control.webhook_delivery d
             WHERE d.status = 'pending' AND d.webhook_id > w.webhook_id ORDER BY d.webhook_id LIMIT 1)
      FROM waiting w WHERE w.webhook_id IS NOT NULL
)
SELECT extract(epoch FROM min(n.due_at) - now())::double precision
  FROM waiting x
  JOIN bf_control.webhook w ON w.id = x.webhook_id AND (w.disabled_at IS NULL OR w.disabled_reason = 'tenant_purged')
 CROSS JOIN LATERAL (SELECT d.due_at FROM bf_control.webhook_delivery d
                      WHERE d.webhook_id = x.webhook_id AND d.status = 'pending' AND d.due_at > now()
                      ORDER BY d.due_at LIMIT 1) AS n
"""
# Their deliveries go with them.
_FORGET_EVENTS = """
DELETE FROM bf_control.event WHERE seq IN (
    SELECT seq FROM bf_control.event WHERE occurred_at < now() - $1::interval ORDER BY occurred_at, seq LIMIT $2)
"""
_FORGET_ORPHANS = """
DELETE FROM bf_control.webhook_delivery WHERE id IN (
    SELECT d.id FROM bf_control.webhook_delivery d
     WHERE NOT EXISTS (SELECT FROM bf_control.webhook w WHERE w.id = d.webhook_id) LIMIT $1)
"""
_FORGET_SECRETS = "DELETE FROM bf_control.webhook_secret WHERE expires_at < now()"


async def claim(
    conn: Connection, *, limit: int, of_each: int, lease: float, give_up_after: timedelta, most_attempts: int
) -> list[Claimed]:
    """What is due, up to `limit`, for `lease` seconds."""
    rows = await conn.fetch(_CLAIM, limit, of_each, lease, give_up_after, most_attempts)
    return [_claimed(row) for row in rows]


def _claimed(row: Record) -> Claimed:
    return Claimed(
        id=row["delivery_id"],
        token=row["claim_token"],
        attempts=row["attempts"],
        overdue=row["overdue"],
        webhook=webhook_of(row),
        event=event_of(row),
    )


async def record(conn: Connection, claimed: Claimed, attempt: Attempt, status: DeliveryStatus, *, again: float) -> bool:
    """Whether it was still ours. It is due again in so many seconds, where it is pending."""
    fault = attempt.fault
    error = None if fault is None else {"code": fault.code, "detail": fault.detail}
    kept = await conn.fetchval(
        _RECORD, claimed.id, claimed.token, status, again, attempt.latency_ms, attempt.status, attempt.body, error
    )
    return kept is not None


async def note(conn: Connection, webhook_id: UUID, *, taking: bool) -> None:
    await conn.execute(_TAKING if taking else _FAILING, webhook_id)


async def next_due(conn: Connection) -> float | None:
    """In seconds; None where nothing waits for its time."""
    seconds: float | None = await conn.fetchval(_NEXT)
    return seconds


async def forget_events(conn: Connection, older_than: timedelta, *, limit: int) -> bool:
    """Whether there may be more of them."""
    return await conn.execute(_FORGET_EVENTS, older_than, limit) == f"DELETE {limit}"


async def forget_orphans(conn: Connection, *, limit: int) -> bool:
    """Of webhooks that are no more; whether there may be more of them. Expired secrets too."""
    await conn.execute(_FORGET_SECRETS)
    return await conn.execute(_FORGET_ORPHANS, limit) == f"DELETE {limit}"
