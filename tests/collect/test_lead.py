"""One process collects at a time, whichever dies."""

import asyncio
import signal
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from app.collect import queries, round_queries
from app.collect.collector import Collecting, Lead, LeaseLost
from app.collect.model import Collector
from app.db.pool import Database
from tests.collect.support import collect, collecting_in, plan
from tests.support.data import make_tenant
from tests.support.polling import until, waiting_for_locks
from tests.support.processes import environment, logged

_LOG = """
CREATE TABLE public.leads (at bigint GENERATED ALWAYS AS IDENTITY, token uuid, was uuid, expired boolean);
CREATE FUNCTION public.led() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.leads (token, was, expired) VALUES (NEW.token, OLD.token, OLD.expires_at < clock_timestamp());
    RETURN NULL;
END $$;
CREATE TRIGGER led AFTER UPDATE ON bf_control.collection_lease FOR EACH ROW
    WHEN (NEW.token IS DISTINCT FROM OLD.token) EXECUTE FUNCTION public.led();
"""
_SUCCEEDED = "SELECT count(*) FROM bf_control.collection WHERE succeeded_at IS NOT NULL"


async def test_two_processes_never_collect_at_once(
    dsn: str, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await make_tenant(conn, "acme")
    await superuser.execute(_LOG)
    await superuser.execute("GRANT INSERT ON public.leads TO PUBLIC")

    async def rounds(database: Database) -> None:
        collecting = Collecting(database, plan(), pause=0)
        for _ in range(5):
            await collecting.collect()

    async with collecting_in(dsn) as one, collecting_in(dsn) as other:
        await asyncio.gather(rounds(one), rounds(other))
    leads = await superuser.fetch("SELECT token, was, expired FROM public.leads ORDER BY at")
    assert any(lead["token"] is not None for lead in leads)
    for lead in leads:
        # Either it begins, and nobody had it; or whoever had it ends.
        assert (lead["token"] is None) != (lead["was"] is None), leads


async def test_whoever_has_lost_the_lead_writes_nothing(dsn: str, conn: asyncpg.Connection) -> None:
    """A process that was stopped for longer than its lease, and goes on."""
    async with collecting_in(dsn) as database:
        lead = Lead(database)
        async with database.transaction() as claiming:
            claimed, _ = await round_queries.claim(
                claiming, {Collector.FLEET: timedelta(0)}, token=lead.token, holder="test"
            )
        assert claimed
        async with lead.transaction() as writing:
            await round_queries.begin(writing, Collector.FLEET, timedelta(0))
        await _lease_ends(conn)
        await collect(dsn, Collector.FLEET)
        with pytest.raises(LeaseLost):
            async with lead.transaction() as writing:
                await round_queries.fail(writing, Collector.FLEET, "of yesterday")
    assert await conn.fetchval("SELECT error FROM bf_control.collection WHERE collector = 'fleet'") is None


async def test_nothing_is_collected_before_it_is_due(dsn: str, conn: asyncpg.Connection) -> None:
    async with collecting_in(dsn) as database:
        collecting = Collecting(database, plan({Collector.FLEET: timedelta(minutes=1)}))
        await collecting.collect()
        due_in = await collecting.collect()
    assert 50 < due_in <= 60
    assert await conn.fetchval("SELECT count(*) FROM bf_control.fleet_snapshot") == 1


async def test_what_went_wrong_is_kept_and_the_next_round_goes_on(
    dsn: str, superuser: asyncpg.Connection, database: Database
) -> None:
    await superuser.execute("REVOKE INSERT ON bf_control.connection_snapshot FROM bf_migrator")
    await collect(dsn)
    async with database.connection() as reading:
        told = await queries.collections(reading)
    assert told[Collector.FLEET].error == "permission denied for table connection_snapshot"
    assert told[Collector.FLEET].failed_at is not None
    assert told[Collector.FLEET].succeeded_at is None
    assert told[Collector.TENANTS].succeeded_at is not None
    await superuser.execute("GRANT INSERT ON bf_control.connection_snapshot TO bf_migrator")
    await collect(dsn)
    async with database.connection() as reading:
        fleet = (await queries.collections(reading))[Collector.FLEET]
    assert fleet.error is None
    assert fleet.succeeded_at is not None
    assert fleet.duration_ms is not None


async def test_another_worker_takes_over_from_one_that_was_killed(
    dsn: str, conn: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    env = environment(dsn, BF_COLLECT_INTERVAL="60", BF_COLLECT_TENANTS_INTERVAL="60")
    await make_tenant(conn, "acme")
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE bf_control.connection_snapshot")
        async with logged("worker", env=env, log=tmp_path / "first.log") as first:
            await waiting_for_locks(conn, 1, within=60)
            first.send_signal(signal.SIGKILL)
            await first.wait()
    assert await conn.fetchval(_SUCCEEDED) == 0
    async with logged("worker", env=env, log=tmp_path / "second.log"):
        await _lease_ends(conn)

        async def collected() -> bool:
            return bool(await conn.fetchval(_SUCCEEDED) == len(Collector))

        await until(collected, within=60)
    assert await conn.fetchval("SELECT intact FROM bf_control.schema_snapshot WHERE tenant_id = 'acme'")


async def _lease_ends(conn: asyncpg.Connection) -> None:
    """As time would end it."""
    await conn.execute("UPDATE bf_control.collection_lease SET expires_at = now() - interval '1 second'")
