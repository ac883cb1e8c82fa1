"""Collecting in this process, at once."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from app.collect.collector import Collecting, Plan
from app.collect.history_queries import Retention
from app.collect.model import Collector
from app.db.pool import Database
from app.db.pools import collecting_database
from tests.support.data import settings_for

EVERYTHING: Final = {collector: timedelta(0) for collector in Collector}
RETENTION: Final = Retention(minutes=timedelta(days=1), hours=timedelta(days=30), days=timedelta(days=730))


def plan(every: Mapping[Collector, timedelta] | None = None, *, retention: Retention = RETENTION) -> Plan:
    return Plan(every=EVERYTHING if every is None else every, retention=retention)


@asynccontextmanager
async def collecting_in(dsn: str) -> AsyncIterator[Database]:
    """Connections as a worker's collector has them."""
    async with collecting_database(settings_for(dsn)) as database:
        yield database


async def collect(dsn: str, *only: Collector, retention: Retention = RETENTION) -> None:
    """One round of each, or of those, whether it is due or not."""
    every = {name: timedelta(0) for name in only or Collector}
    async with collecting_in(dsn) as database:
        await Collecting(database, plan(every, retention=retention), pause=0).collect()
