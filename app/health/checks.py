"""What is to be said of what was seen: each check with what it means and what to do. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from app.health import collected
from app.health.levels import levelled
from app.health.model import Finding, Pool, Reading, Seen, Some, Status, Thresholds

_LAYERS: Final = ("control", "shared", "tenant")


def of_reading(
    reading: Reading, thresholds: Thresholds, *, latest: Mapping[str, int], pool: Pool | None
) -> dict[str, Finding]:
    """By name. Where the database did not answer, only what can be said without it. `latest` are this release's
    migrations, by layer; `pool` is None of what has none.
    """
    found = {"database": _database(reading)}
    if pool is not None:
        found["pool"] = _pool(pool, thresholds)
    if reading.latency_ms is not None:
        found["latency"] = _latency(reading.latency_ms, thresholds)
    if reading.seen is not None:
        if reading.certificate_until is not None:
            found["certificate"] = _certificate(reading.certificate_until, reading.seen.at, thresholds)
        found |= _of_seen(reading.seen, thresholds, latest)
        if thresholds.collection_age:
            found["collection"] = collected.collection(reading.collections, reading.seen.at, thresholds)
    if reading.fleet is not None:
        found |= collected.of_fleet(reading.fleet, thresholds)
    return found


def certificate_ends(reading: Reading, thresholds: Thresholds) -> bool:
    """Whether the certificate that was seen is near its end."""
    until, seen = reading.certificate_until, reading.seen
    return until is not None and seen is not None and until - seen.at <= thresholds.certificate[0]


def worst(findings: Mapping[str, Finding]) -> Status:
    found = {finding.status for finding in findings.values()}
    return "fail" if "fail" in found else "warn" if "warn" in found else "pass"


def attention(findings: Mapping[str, Finding]) -> list[tuple[str, Finding]]:
    """What is not well by name: what fails, then what warns."""
    return [
        (name, finding) for level in ("fail", "warn") for name, finding in findings.items() if finding.status == level
    ]


def _of_seen(seen: Seen, thresholds: Thresholds, latest: Mapping[str, int]) -> dict[str, Finding]:
    found = {
        "workers": _workers(seen, thresholds),
        "queue_depth": _queue_depth(seen, thresholds),
        "oldest_job": _oldest_job(seen, thresholds),
        "migrations": _migrations(seen, latest),
        "tenants_behind": _tenants_behind(seen.behind),
        "tenants_failed": _tenants_failed(seen.failed),
        "tenants_over_limit": _tenants_over_limit(seen),
        "tenants_drifted": _tenants_drifted(seen.drifted),
        "isolation": _isolation(seen, thresholds),
        "api_keys": _api_keys(seen, thresholds),
        "lock_table": _lock_table(seen, thresholds),
        "transaction_ids": _transaction_ids(seen, thresholds),
    }
    return {name: finding if finding.time else replace(finding, time=seen.at) for name, finding in found.items()}


# the database, and the way to it ---------------------------------------------------------------------


def _database(reading: Reading) -> Finding:
    if reading.seen is None:
        return Finding(status="fail", reason=reading.failure or "It does not answer.")
    return Finding(status="pass", observed=f"PostgreSQL {reading.seen.server_version}", time=reading.seen.at)


def _latency(latency_ms: float, thresholds: Thresholds) -> Finding:
    return levelled(
        round(latency_ms, 1),
        thresholds.latency_ms,
        unit="ms",
        reason="The database is slow to answer a question that costs nothing: look at its load, and at the network.",
    )


def _pool(pool: Pool, thresholds: Thresholds) -> Finding:
    return levelled(
        round(100 * pool.in_use / pool.most),
        thresholds.pool,
        unit="percent",
        reason=f"{pool.in_use} of the {pool.most} connections that this process has for requests are in use: raise "
        "BF_DB_POOL_MAX, start another process, or look for what holds them: GET /v1/health/connections.",
    )


def _certificate(until: datetime, now: datetime, thresholds: Thresholds) -> Finding:
    left, (warn, fail) = until - now, thresholds.certificate
    status: Status = "fail" if left <= fail else "warn" if left <= warn else "pass"
    reason = f"The certificate of PostgreSQL ends on {until:%Y-%m-%d}: replace server.crt and reload the server."
    return Finding(
        status=status, observed=left.days, unit="days", time=now, reason=None if status == "pass" else reason
    )


def _lock_table(seen: Seen, thresholds: Thresholds) -> Finding:
    percent = round(100 * seen.locks / seen.lock_places, 1)
    return levelled(
        percent,
        thresholds.lock_table,
        unit="percent",
        reason=f"{seen.locks} of some {seen.lock_places} places of the lock table are taken; without one, statements "
        "fail: lower BF_WORKER_CONCURRENCY, or raise max_locks_per_transaction and restart the server.",
    )


def _transaction_ids(seen: Seen, thresholds: Thresholds) -> Finding:
    return levelled(
        seen.xid_age,
        thresholds.transaction_ids,
        unit="transactions",
        reason="Autovacuum does not keep up with freezing, and at 2 billion PostgreSQL stops taking writes: look for "
        "old transactions, prepared ones and replication slots, then VACUUM (FREEZE) as a superuser.",
        related="/v1/health/connections",
    )


# work ------------------------------------------------------------------------------------------------


def _workers(seen: Seen, thresholds: Thresholds) -> Finding:
    last = f", the last one at {seen.last_heartbeat:%Y-%m-%d %H:%M:%S} UTC" if seen.last_heartbeat else ""
    if not seen.workers:
        reason = f"No worker is heard of{last}: nothing that is asked for is done. Start one: bf-admin worker."
        return Finding(status="fail", observed=0, reason=reason)
    if not seen.lost_workers:
        return Finding(status="pass", observed=seen.workers)
    minutes = round(thresholds.worker_told / timedelta(minutes=1))
    reason = (
        f"{seen.lost_workers} ended without a word within {minutes} minutes; what they had is taken over. Their log "
        "may say why; if one hangs, end it."
    )
    return Finding(status="warn", observed=seen.workers, reason=reason)


def _queue_depth(seen: Seen, thresholds: Thresholds) -> Finding:
    reason = "More is asked for than is done: start more workers, or raise BF_WORKER_CONCURRENCY."
    warns = seen.queue_depth >= thresholds.queue_depth
    return Finding(
        status="warn" if warns else "pass",
        observed=seen.queue_depth,
        unit="jobs",
        reason=reason if warns else None,
        related="/v1/operations?status=queued",
    )


def _oldest_job(seen: Seen, thresholds: Thresholds) -> Finding:
    return levelled(
        round(seen.oldest_job or 0.0, 1),
        tuple(limit.total_seconds() for limit in thresholds.oldest_job),
        unit="s",
        reason="A job has waited for so long: see whether workers live, and what they do (GET /v1/operations"
        "?status=running); more of them, or a higher BF_WORKER_CONCURRENCY, work it off.",
        related="/v1/operations?status=queued",
    )


def _migrations(seen: Seen, latest: Mapping[str, int]) -> Finding:
    pending = sum(max(0, latest.get(layer, 0) - seen.versions.get(layer, 0)) for layer in _LAYERS)
    ahead = [layer for layer in _LAYERS if seen.versions.get(layer, 0) > latest.get(layer, 0)]
    if pending:
        reason = f"{_count(pending, 'migration')} of this release not applied: POST /v1/schema/upgrade."
    elif ahead:
        reason = "The database is newer than this process: bring it to the release that upgraded the database."
    else:
        return Finding(status="pass", observed=0)
    return Finding(status="warn", observed=pending, reason=reason, related="/v1/schema")


# tenants ---------------------------------------------------------------------------------------------


def _tenants_failed(failed: Some) -> Finding:
    return _none(
        failed,
        "failed to be made",
        "GET /v1/tenants/{id}/health says why; the same request again repairs one, POST …/purge removes it.",
        related="/v1/tenants?state=failed",
    )


def _tenants_behind(behind: Some) -> Finding:
    return _none(
        behind, "at an older version of the schema", "POST /v1/schema/upgrade brings them along.", related="/v1/schema"
    )


def _tenants_drifted(drifted: Some) -> Finding:
    return _none(
        drifted,
        "not as the migrations made them, as of the last look",
        "GET /v1/tenants/{id}/health says what differs, POST …/repair puts it right.",
        related=None,
    )


def _tenants_over_limit(seen: Seen) -> Finding:
    found = _none(
        seen.over_limit,
        "using more than a limit of theirs",
        "PATCH /v1/tenants/{id}/limits raises it, or they use less.",
        related=None,
    )
    return replace(found, time=seen.limits_checked_at)


def _none(some: Some, what: str, mend: str, *, related: str | None) -> Finding:
    """Passes where there is no such tenant."""
    if not some.count:
        return Finding(status="pass", observed=0, unit="tenants", related=related)
    are = "is" if some.count == 1 else "are"
    verb = "" if what.startswith("failed") else f"{are} "
    number = f"more than {some.count}" if some.more else str(some.count)
    reason = f"{number} {'tenant' if some.count == 1 else 'tenants'} {verb}{what} ({some.told}): {mend}"
    return Finding(status="warn", observed=some.count, unit="tenants", reason=reason, related=related)


def _isolation(seen: Seen, thresholds: Thresholds) -> Finding:
    checked = seen.isolation_checked_at
    known = Finding(status="pass", observed=seen.isolation_faults, unit="faults", time=checked, related="/v1/isolation")
    if seen.isolation_opens:
        reason = "Somebody may reach what is not theirs: GET /v1/isolation has each fault with the SQL that mends it."
        return replace(known, status="fail", reason=reason)
    if checked is None or seen.at - checked > thresholds.isolation_age:
        since = "never" if checked is None else f"not since {checked:%Y-%m-%d %H:%M} UTC"
        reason = f"Isolation was {since} looked at: a worker does so hourly, and bf-admin isolation check now."
        return replace(known, status="warn", reason=reason)
    if seen.isolation_faults:
        reason = "Roles of tenants are missing or left over: GET /v1/isolation has each with the SQL that mends it."
        return replace(known, status="warn", reason=reason)
    return known


def _api_keys(seen: Seen, thresholds: Thresholds) -> Finding:
    """Those that were rotated end on purpose, and are not counted."""
    if not seen.expiring_keys or seen.next_expiry is None:
        return Finding(status="pass", observed=0, unit="keys", related="/v1/api-keys")
    reason = (
        f"{_count(seen.expiring_keys, 'API key')} about to expire, the first at {seen.next_expiry:%Y-%m-%d %H:%M} UTC: "
        f"POST /v1/api-keys/{{id}}/rotate within {thresholds.api_keys.days} days, or let it go: DELETE it."
    )
    return Finding(status="warn", observed=seen.expiring_keys, unit="keys", reason=reason, related="/v1/api-keys")


# what they share -------------------------------------------------------------------------------------


def _count(number: int, thing: str) -> str:
    return f"{number} {thing} is" if number == 1 else f"{number} {thing}s are"
