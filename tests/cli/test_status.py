"""bf-admin status and top: how the service is, for a person and for a script."""

import asyncio
import json
import os
import pty
import sys
from pathlib import Path

import asyncpg

from tests.support.command import command
from tests.support.data import make_tenant
from tests.support.processes import environment
from tests.support.terminal import plain

_WORKER = "INSERT INTO bf_control.worker (id, host, process_id, release) VALUES (gen_random_uuid(), 'h', 1, '0')"
_OPERATION = """
INSERT INTO bf_control.operation (kind, tenant_id, actor, status, started_at, progress)
VALUES ('tenant.repair', 'acme_corp', 'tests', 'running', now(), '{"done": 3, "total": 8}')
"""


async def test_a_service_without_a_worker_fails_and_says_what_to_do(dsn: str, conn: asyncpg.Connection) -> None:
    finished = await command("status", env=environment(dsn))
    assert finished.code == 1
    first = finished.stdout.splitlines()[0]
    assert first.startswith("fail  workers")
    assert "bf-admin worker" in first


async def test_status_shows_what_needs_attention_first_then_tenants_and_work(
    dsn: str, conn: asyncpg.Connection
) -> None:
    for number in range(3):
        await make_tenant(conn, f"t{number}")
    await conn.execute("SELECT bf_shared.suspend_tenant('t2', 'tests')")
    await conn.execute(_WORKER)
    await conn.execute(_OPERATION)
    finished = await command("status", env=environment(dsn))
    assert finished.code == 0, finished
    lines = finished.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("fail", "warn", "pass"))][-1] == "pass"
    assert "database, latency" in finished.stdout
    assert "3 tenants: 2 active, 1 suspended; 3 at version" in finished.stdout
    assert "tenant.repair\tacme_corp\trunning" in finished.stdout
    assert "3/8" in finished.stdout


async def test_status_as_json_is_the_summary_and_the_fleet(dsn: str, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await conn.execute(_WORKER)
    await conn.execute(_OPERATION)
    finished = await command("status", "--json", env=environment(dsn))
    document = json.loads(finished.stdout)
    assert (finished.code, document["status"]) == (0, "warn")
    assert document["checks"]["workers"]["observed"] == 1
    assert "pool" not in document["checks"], "that is a matter of an API process"
    assert document["tenants"]["by_state"] == {"active": 1}
    assert [(one["kind"], one["progress"]) for one in document["operations"]] == [
        ("tenant.repair", {"done": 3, "total": 8})
    ]


async def test_a_database_that_is_away_is_a_verdict_and_no_crash(dsn: str) -> None:
    away = environment(dsn.rpartition(":")[0] + ":1/nowhere")
    finished = await command("status", env=away)
    assert finished.code == 1
    assert finished.stdout.startswith("fail  database")
    assert "bf-admin doctor" in finished.stdout
    document = json.loads((await command("status", "--json", env=away)).stdout)
    assert (document["status"], document["tenants"], list(document["checks"])) == ("fail", None, ["database"])


async def test_a_database_without_the_schema_is_a_verdict_too(empty_dsn: str) -> None:
    finished = await command("status", env=environment(empty_dsn))
    assert finished.code == 1
    assert "bf-admin upgrade" in finished.stdout


async def test_top_without_a_terminal_prints_one_look(dsn: str, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await conn.execute(
        "INSERT INTO bf_control.schema_snapshot (tenant_id, taken_at, measured_at, total_bytes, heap_bytes, "
        "index_bytes, toast_bytes, live_rows, dead_rows, table_count, index_count, invalid_indexes, unused_indexes, "
        "missing_tables, missing_indexes, open_tables) "
        "VALUES ('acme_corp', now(), now(), 20971520, 0, 0, 0, 70, 7, 6, 20, 0, 0, '{}', '{}', '{}')"
    )
    env = environment(dsn, COLUMNS="120")
    for by in ("size", "growth", "dead_rows"):
        finished = await command("top", "--by", by, env=env)
        assert finished.code == 0, finished
        assert "1 tenants: 1 active" in finished.stdout
        assert ("acme_corp" in finished.stdout) == (by != "growth"), "it did not grow"
    assert "20 MB" in finished.stdout


async def test_top_on_a_terminal_goes_on_until_q(dsn: str, conn: asyncpg.Connection) -> None:
    ours, theirs = pty.openpty()
    env = {**environment(dsn), "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "top", "--every", "0.5", env=env, stdin=theirs, stdout=theirs, stderr=theirs,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    os.close(theirs)
    shown = await asyncio.to_thread(_until, ours, "Tenants by size")
    assert "fail  workers" in plain(shown)
    await conn.execute(_WORKER)
    await asyncio.to_thread(_until, ours, "warn")
    os.write(ours, b"q")
    assert await asyncio.wait_for(_ended(process, ours), 30) == 0


def _until(terminal: int, wanted: str) -> str:
    """What was shown from now on until `wanted` was."""
    shown = ""
    while wanted not in plain(shown):
        shown += os.read(terminal, 65536).decode(errors="replace")
    return shown


async def _ended(process: asyncio.subprocess.Process, terminal: int) -> int:
    """A terminal that nobody reads holds up who writes to it."""
    reading = asyncio.create_task(asyncio.to_thread(_drain, terminal))
    code = await process.wait()
    await reading
    os.close(terminal)
    return code


def _drain(terminal: int) -> None:
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:  # EIO: nobody has the other end open any longer
        return
