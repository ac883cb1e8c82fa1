"""What /metrics says, as Prometheus reads it. docs/metrics.md has every series; a test holds the two together."""

import itertools
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from app.db.pool import Database
from app.measures import Distribution
from app.metrics import model
from app.metrics.model import Figures, Fleet, Snapshot, Work
from app.metrics.requests import Requests
from app.operations.model import TERMINAL, Kind

# Of the database as a whole, as a collector has last seen it.
_SEEN: Final = (
    ("bf_database_size_bytes", "Size of the database.", "bytes"),
    (
        "bf_database_transaction_age",
        "Transactions since the oldest not frozen; PostgreSQL stops at 2 billion.",
        "transaction_age",
    ),
    ("bf_database_connections", "Connections to the whole server.", "connections"),
    ("bf_database_connections_max", "Connections that the server takes.", "max_connections"),
    ("bf_database_locks", "Locks in the server's lock table.", "locks"),
    ("bf_database_locks_max", "Locks that the lock table is made for.", "max_locks"),
)


class Exposition:
    """Of one application: its own registry, so that two in a process know nothing of each other."""

    def __init__(self, requests: Requests, *, version: str) -> None:
        self._requests = requests
        self._version = version

    def render(self, figures: Figures | None, pools: Mapping[str, Database], *, accept: str) -> tuple[bytes, str]:
        """The text and its type: OpenMetrics for who asks for it. Without figures, those of the process alone."""
        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        registry.register(_Families([*self._process(pools), *_database(figures)]))
        encode, media_type = choose_encoder(accept)
        return encode(registry), media_type

    def _process(self, pools: Mapping[str, Database]) -> Iterator[Metric]:
        info = GaugeMetricFamily("bf_build_info", "1, of the release that answers.", labels=["version", "python"])
        info.add_metric([self._version, platform.python_version()], 1)
        yield info
        yield from _requests(self._requests)
        yield from _pools(pools)


class _Families(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _requests(requests: Requests) -> Iterator[Metric]:
    total = CounterMetricFamily(
        "bf_http_requests",
        "Requests by method, route template and class of status; unmatched where no route was reached.",
        labels=["method", "route", "status"],
    )
    for labels, count in requests.counts.items():
        total.add_metric(labels, count)
    yield total
    durations = HistogramMetricFamily(
        "bf_http_request_duration_seconds",
        "Seconds from a request's head to the end of its answer, time that it preferred to wait included.",
        labels=["method", "route"],
    )
    for named, distribution in requests.durations.items():
        _add(durations, named, distribution)
    yield durations
    yield GaugeMetricFamily(
        "bf_http_requests_in_progress", "Requests that are being answered, streams too.", requests.in_progress
    )


def _pools(pools: Mapping[str, Database]) -> Iterator[Metric]:
    connections = GaugeMetricFamily(
        "bf_db_pool_connections", "Open connections of a pool, by whether they are used.", labels=["pool", "state"]
    )
    most = GaugeMetricFamily("bf_db_pool_connections_max", "Connections that a pool may have.", labels=["pool"])
    waiting = GaugeMetricFamily("bf_db_pool_waiting", "Tasks that wait for a connection.", labels=["pool"])
    refused = CounterMetricFamily(
        "bf_db_pool_refused",
        "Connections that were asked for in vain: none was free in time, or the database was away.",
        labels=["pool"],
    )
    acquired = HistogramMetricFamily(
        "bf_db_pool_acquire_seconds", "Seconds until a connection was had, by those who got one.", labels=["pool"]
    )
    for pool, database in pools.items():
        state = database.state
        connections.add_metric([pool, "idle"], state.idle)
        connections.add_metric([pool, "used"], state.open - state.idle)
        most.add_metric([pool], state.most)
        waiting.add_metric([pool], database.use.waiting)
        refused.add_metric([pool], database.use.refused)
        _add(acquired, [pool], database.use.acquired)
    yield from (connections, most, waiting, refused, acquired)


def _database(figures: Figures | None) -> Iterator[Metric]:
    up = "Whether the database has told its figures: without them, only those of the process are here."
    yield GaugeMetricFamily("bf_database_up", up, 0 if figures is None else 1)
    if figures is not None:
        yield from _work(figures.work)
        yield from _operations(figures.work)
        yield from _fleet(figures.fleet)
        yield from _snapshot(figures.fleet.snapshot)


def _work(work: Work) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "bf_queue_jobs", "Jobs that wait (queued), and that a worker has (picked).", labels=["status"]
    )
    _counts(jobs, work.jobs)
    yield jobs
    yield GaugeMetricFamily(
        "bf_queue_oldest_job_age_seconds", "How long the job that is due longest has been due.", work.oldest_job
    )
    yield GaugeMetricFamily(
        "bf_audit_unsealed_records", "Records of the audit trail that are not in its chain yet.", work.unsealed
    )
    yield GaugeMetricFamily("bf_audit_seal_lag_seconds", "Age of the oldest unsealed record.", work.seal_lag)
    deliveries = GaugeMetricFamily(
        "bf_webhook_deliveries", "Deliveries that are to be made (pending) or were given up (dead).", labels=["status"]
    )
    _counts(deliveries, work.deliveries)
    yield deliveries
    yield GaugeMetricFamily(
        "bf_webhook_oldest_pending_age_seconds", "Age of the oldest pending delivery.", work.oldest_delivery
    )


def _operations(work: Work) -> Iterator[Metric]:
    unfinished = GaugeMetricFamily(
        "bf_operations_unfinished", "Operations that are queued or running.", labels=["kind", "status"]
    )
    for some in work.unfinished:
        unfinished.add_metric([some.kind, some.status], some.count)
    ended = CounterMetricFamily(
        "bf_operations", "Operations that ended, since the database was made.", labels=["kind", "outcome"]
    )
    durations = HistogramMetricFamily(
        "bf_operation_duration_seconds",
        "Seconds from the first start of an operation to its end, retries included; 0 where it never began.",
        labels=["kind", "outcome"],
    )
    bounds = [*map(str, model.BOUNDS), "+Inf"]
    counts = {(one.kind, one.outcome): one.count for one in work.ended}
    # What has not happened yet is 0, and not absent: else nobody sees the first failure of a kind.
    for kind, outcome in sorted({*itertools.product(Kind, TERMINAL), *counts}):
        ended.add_metric([str(kind), str(outcome)], counts.get((kind, outcome), 0))
    for one in work.ended:
        buckets = list(zip(bounds, map(float, one.cumulative), strict=True))
        durations.add_metric([one.kind, one.outcome], buckets, one.seconds)
    yield from (unfinished, ended, durations)


def _fleet(fleet: Fleet) -> Iterator[Metric]:
    tenants = GaugeMetricFamily(
        "bf_tenants", "Tenants by state, version of their schema and tier.", labels=["state", "schema_version", "tier"]
    )
    for alike in fleet.tenants:
        version = "" if alike.schema_version is None else str(alike.schema_version)
        tenants.add_metric([alike.state, version, alike.tier], alike.count)
    yield tenants
    yield GaugeMetricFamily("bf_tenants_behind", "Tenants below the newest version of their schema.", fleet.behind)
    collected = GaugeMetricFamily(
        "bf_collector_last_success_timestamp_seconds",
        "When a collector last came to the end of its round.",
        labels=["collector"],
    )
    for one in fleet.collected:
        collected.add_metric([one.collector], one.succeeded_at)
    size = GaugeMetricFamily(
        "bf_tenant_size_bytes", "Size of the largest tenants' tables, indexes included.", labels=["tenant_id"]
    )
    rows = GaugeMetricFamily("bf_tenant_rows", "Live rows of the largest tenants, estimated.", labels=["tenant_id"])
    for tenant in fleet.largest:
        size.add_metric([tenant.tenant_id], tenant.total_bytes)
        rows.add_metric([tenant.tenant_id], tenant.live_rows)
    yield from (collected, size, rows)


def _snapshot(seen: Snapshot | None) -> Iterator[Metric]:
    for name, text, member in _SEEN:
        gauge = GaugeMetricFamily(name, text)
        if seen is not None:
            gauge.add_metric([], getattr(seen, member))
        yield gauge
    lag = GaugeMetricFamily("bf_database_replication_lag_seconds", "How far a standby is behind.", labels=["standby"])
    for standby, seconds in ({} if seen is None else seen.lags).items():
        lag.add_metric([standby], seconds)
    yield lag


def _counts(family: GaugeMetricFamily, counts: Mapping[str, int]) -> None:
    for label, count in counts.items():
        family.add_metric([label], count)


def _add(family: HistogramMetricFamily, labels: Sequence[str], distribution: Distribution) -> None:
    bounds = [*map(str, distribution.bounds), "+Inf"]
    buckets = list(zip(bounds, map(float, distribution.cumulative()), strict=True))
    family.add_metric(labels, buckets, distribution.total)
