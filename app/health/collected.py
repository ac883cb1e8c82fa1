"""What is to be said of what collectors have seen, which is as old as its `time`. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from app.collect.model import Collection, Collector, Fleet, Standby
from app.health.levels import levelled
from app.health.model import Finding, Thresholds


def collection(found: Mapping[Collector, Collection], now: datetime, thresholds: Thresholds) -> Finding:
    """How long ago the last round ended of the collector that is behind most."""
    needed = thresholds.collection_age
    never = [name for name in needed if _succeeded(found, name) is None]
    failing = [f"{name} ({one.error})" for name, one in found.items() if one.error is not None]
    ages = {name: (now - ended).total_seconds() for name in needed if (ended := _succeeded(found, name)) is not None}
    late = [name for name, age in ages.items() if age > needed[name].total_seconds()]
    return Finding(
        status="warn" if never or late or failing else "pass",
        observed=round(max(ages.values()), 1) if ages else None,
        unit="s",
        reason=_why(never, late, failing),
        time=min((one.succeeded_at for one in found.values() if one.succeeded_at), default=now),
        related="/v1/health/fleet",
    )


def _succeeded(found: Mapping[Collector, Collection], name: Collector) -> datetime | None:
    return found[name].succeeded_at if name in found else None


def _why(never: Iterable[str], late: Iterable[str], failing: Iterable[str]) -> str | None:
    told = {"failing": failing, "late": late, "not made yet": never}
    parts = [f"{what}: {', '.join(names)}" for what, names in told.items() if names]
    if not parts:
        return None
    return (
        f"Collection is behind ({'; '.join(parts)}), and sizes are as old as they say: a worker collects unless "
        "BF_COLLECT_INTERVAL is 0; its log says what is in the way."
    )


def of_fleet(fleet: Fleet, thresholds: Thresholds) -> dict[str, Finding]:
    """What there is: no standby is no fault, and a disk that nobody sees none either."""
    found = {"connections": _connections(fleet, thresholds), "catalogue_bloat": _catalogue_bloat(fleet, thresholds)}
    if fleet.standbys:
        found["replication"] = _replication(fleet.standbys, fleet.taken_at, thresholds)
    if fleet.disk_bytes and fleet.disk_free_bytes is not None:
        found["disk"] = _disk(fleet.disk_bytes, fleet.disk_free_bytes, fleet.taken_at, thresholds)
    return found


def _connections(fleet: Fleet, thresholds: Thresholds) -> Finding:
    return levelled(
        round(100 * fleet.connections / fleet.max_connections),
        thresholds.connections,
        unit="percent",
        reason=f"{fleet.connections} of the server's {fleet.max_connections} connections are in use: put PgBouncer "
        "before it, lower BF_DB_POOL_MAX, or raise max_connections and restart the server.",
        time=fleet.taken_at,
        related="/v1/health/connections",
    )


def _catalogue_bloat(fleet: Fleet, thresholds: Thresholds) -> Finding:
    """The worst of its tables, of those that have enough dead rows for it to matter."""
    shares = {
        table.name: round(100 * table.dead_rows / (table.live_rows + table.dead_rows))
        for table in fleet.catalogue
        if table.dead_rows >= thresholds.catalogue_dead_rows
    }
    worst = max(shares, key=lambda name: shares[name], default=None)
    return levelled(
        0 if worst is None else shares[worst],
        thresholds.catalogue_bloat,
        unit="percent",
        reason=f"So many of the rows of {worst} are dead, and every lookup reads past them: look for old transactions "
        f"that keep autovacuum from it, then VACUUM {worst} as a superuser.",
        time=fleet.taken_at,
        related="/v1/health/connections",
    )


def _replication(standbys: Iterable[Standby], taken_at: datetime, thresholds: Thresholds) -> Finding:
    """The lag of the standby that is behind most."""
    known = [(standby.lag_seconds, standby.name) for standby in standbys if standby.lag_seconds is not None]
    if not known:
        hidden = all(standby.state is None for standby in standbys)
        reason = "There are standbys, and who may not see how far they are: GRANT pg_monitor TO the migration user."
        return Finding(status="warn" if hidden else "pass", reason=reason if hidden else None, time=taken_at, unit="s")
    lag, worst = max(known)
    return levelled(
        round(lag, 1),
        tuple(limit.total_seconds() for limit in thresholds.replication),
        unit="s",
        reason=f"The standby {worst} is behind: see whether it replays, and the network to it; what it has not got is "
        "lost if the primary is.",
        time=taken_at,
    )


def _disk(total: int, free: int, taken_at: datetime, thresholds: Thresholds) -> Finding:
    return levelled(
        round(100 * (total - free) / total),
        thresholds.disk,
        unit="percent",
        reason="PostgreSQL's volume fills up, and stops it when it is full: make it larger, purge deleted tenants, or "
        "look for what grows: GET /v1/health/tables.",
        time=taken_at,
        related="/v1/health/tables",
    )
