"""Asking doctor, and doing what it says."""

import json
import secrets
import shlex
import subprocess
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from tests.support.cluster import Cluster
from tests.support.command import command

Finding = dict[str, Any]


async def examine(env: Mapping[str, str]) -> dict[str, Finding]:
    """The findings of `bf-admin doctor --json`, whose exit code agrees with them."""
    finished = await command("doctor", "--json", env=dict(env))
    report = json.loads(finished.stdout)
    statuses = {finding["status"] for finding in report["checks"].values()}
    assert report["status"] == next((s for s in ("fail", "warn") if s in statuses), "pass")
    assert finished.code == (1 if report["status"] == "fail" else 0), finished
    assert "Traceback" not in finished.stderr
    checks: dict[str, Finding] = report["checks"]
    for name, finding in checks.items():
        assert finding.keys() == {"status", "observed", "reason", "mend"}, name
        if finding["status"] in {"warn", "fail"}:
            assert finding["reason"], name
    return checks


async def check(name: str, env: Mapping[str, str], status: str) -> Finding:
    """What doctor found of one thing, which is so bad."""
    finding = (await examine(env))[name]
    assert finding["status"] == status, finding
    return finding


async def mended(name: str, env: Mapping[str, str], status: str, admin: asyncpg.Connection) -> Finding:
    """Doctor sees the fault; its SQL is run by a superuser; doctor sees no fault. Returns what it saw first."""
    finding = await check(name, env, status)
    for statement in finding["mend"].splitlines():
        await admin.execute(statement)
    await check(name, env, "pass")
    return finding


def shell(lines: str, env: Mapping[str, str]) -> dict[str, str]:
    """The environment after a shell has run the lines."""
    done = subprocess.run(
        ["bash", "-ec", f"{lines}\nenv -0"], env=dict(env), stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(entry.split("=", 1) for entry in done.stdout.rstrip("\0").split("\0"))


async def bf_admin(line: str, env: Mapping[str, str]) -> None:
    """A printed bf-admin line, run to a good end."""
    program, *arguments = shlex.split(line)
    assert program == "bf-admin"
    finished = await command(*arguments, env=dict(env))
    assert finished.code == 0, finished


@asynccontextmanager
async def login(admin: asyncpg.Connection, cluster: Cluster, attributes: str = ""):
    """A new login, with a name that needs quoting: its quoted name, and its DSN for the same database."""
    name, password = f"Odd {secrets.token_hex(4)}", secrets.token_hex(8)
    database = await admin.fetchval("SELECT current_database()")
    await admin.execute(f"CREATE ROLE \"{name}\" LOGIN {attributes} PASSWORD '{password}'")
    try:
        yield f'"{name}"', cluster.dsn(database, name, password)
    finally:
        await admin.execute(f'DROP OWNED BY "{name}"')
        await admin.execute(f'DROP ROLE "{name}"')


def without(env: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in env.items() if name not in names}
