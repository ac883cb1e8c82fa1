"""What /health tells: looked at now and then, and only while somebody asks."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter
from typing import Final

from app.collect import queries as snapshots
from app.collect.model import Collector
from app.db.certificate import valid_until
from app.db.pool import Database
from app.errors import AppError
from app.health import checks, queries
from app.health.model import Finding, Pool, Reading, Thresholds
from app.health.schemas import HealthSummary
from app.http.conditional import tag_of
from app.settings import Settings

# Seconds that an answer waits for the database; what is asked of it takes milliseconds.
PATIENCE: Final = 2.0
# However short its interval is: a worker may start meanwhile.
_COLLECTION_LATE: Final = timedelta(minutes=10)
_SILENT: Final = (
    "The database does not answer: see whether it runs and can be reached; bf-admin doctor says what is wrong."
)


def thresholds_of(settings: Settings) -> Thresholds:
    """A collector is late after five rounds that it has not made; one that is off is not missed."""
    intervals = {Collector.FLEET: settings.collect_interval, Collector.TENANTS: settings.collect_tenants_interval}
    late = {
        name: max(_COLLECTION_LATE, timedelta(seconds=5 * interval))
        for name, interval in intervals.items()
        if interval and settings.collect_interval
    }
    return Thresholds(collection_age=late)


async def read(database: Database, thresholds: Thresholds) -> Reading:
    """One look. Where the database does not let us, why."""
    try:
        reading = await _read(database, thresholds)
        if checks.certificate_ends(reading, thresholds):
            await database.renew()  # a connection shows the certificate of its beginning, and there may be another
    except AppError as error:
        return Reading(seen=None, latency_ms=None, failure=f"{error.detail} {_SILENT}")
    return reading


async def _read(database: Database, thresholds: Thresholds) -> Reading:
    async with database.connection() as conn:
        begun = perf_counter()
        await queries.clock(conn)
        latency_ms = (perf_counter() - begun) * 1000
        return Reading(
            seen=await queries.look(conn, thresholds),
            latency_ms=latency_ms,
            certificate_until=valid_until(conn),
            collections=await snapshots.collections(conn),
            fleet=await snapshots.fleet(conn),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The answer, as it is sent until a moment of the loop's clock."""

    findings: Mapping[str, Finding]
    status_code: int
    body: bytes
    tag: str
    until: float


class Summary:
    """Of one API process. It looks at most once in `interval` seconds: then the first who asks begins a look, which
    all others wait for or go without. An answer is at most two intervals old; nobody waits longer than `PATIENCE`.

    `database` is a connection of its own, so that a pool that is full is told of by the pool's check.
    """

    def __init__(
        self,
        database: Database,
        *,
        pool: Callable[[], Pool],
        latest: Mapping[str, int],
        release: str,
        interval: float,
        thresholds: Thresholds,
    ) -> None:
        self._database = database
        self._pool = pool
        self._latest = latest
        self._release = release
        self._interval = interval
        self.thresholds = thresholds
        self._kept: Kept | None = None
        self._looking: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def get(self) -> Kept:
        now = asyncio.get_running_loop().time()
        kept = self._kept
        if kept is not None and now < kept.until:
            return kept
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="health")
        if kept is not None and now < kept.until + self._interval:
            return kept
        await asyncio.wait({self._looking}, timeout=PATIENCE)
        if self._kept is None or self._kept is kept:
            return self._keep(Reading(seen=None, latency_ms=None, failure=_SILENT))
        return self._kept

    def without_database(self) -> Kept:
        """Where it was just asked in vain who calls: told to whom that may be, this says little more than /readyz."""
        pool = self._pool()
        reason = _SILENT if pool.in_use < pool.most else "No connection was free to ask who calls: see pool."
        found = checks.of_reading(
            Reading(seen=None, latency_ms=None, failure=reason), self.thresholds, latest=self._latest, pool=pool
        )
        return self._answer(found)

    async def _look(self) -> None:
        self._keep(await read(self._database, self.thresholds))

    def _keep(self, reading: Reading) -> Kept:
        findings = checks.of_reading(reading, self.thresholds, latest=self._latest, pool=self._pool())
        self._kept = self._answer(findings)
        return self._kept

    def _answer(self, findings: Mapping[str, Finding]) -> Kept:
        summary = HealthSummary.of(findings, release=self._release)
        body = summary.document()
        return Kept(
            findings=findings,
            status_code=503 if summary.status == "fail" else 200,
            body=body,
            tag=tag_of(body),
            until=asyncio.get_running_loop().time() + self._interval,
        )
