"""bf-admin config: what the API does, from the command line."""

import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.config.model import DEFAULTS
from tests.config.support import OTHER
from tests.support.command import command
from tests.support.data import make_tenant, suspend
from tests.support.processes import Finished, environment


@pytest.fixture
async def env(dsn: str, conn: asyncpg.Connection) -> dict[str, str]:
    await make_tenant(conn)
    return environment(dsn)


async def _config(*arguments: str, env: dict[str, str], code: int = 0) -> Finished:
    finished = await command("config", *arguments, env=env)
    assert finished.code == code, finished
    assert "Traceback" not in finished.stderr
    return finished


async def _document(*arguments: str, env: dict[str, str], code: int = 0) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((await _config(*arguments, "--json", env=env, code=code)).stdout)
    return document


async def test_what_is_set_is_read(env: dict[str, str], tmp_path: Path) -> None:
    assert await _document("get", "acme_corp", env=env) == DEFAULTS
    (tmp_path / "c.json").write_text(json.dumps(OTHER))
    given = ["--file", str(tmp_path / "c.json"), "audit_level=full", 'budget_features={"rolling": null}']
    wanted = {**OTHER, "audit_level": "full", "budget_features": {}}
    assert await _document("set", "acme_corp", *given, "--validate-only", env=env) == wanted
    assert await _document("get", "acme_corp", env=env) == DEFAULTS
    assert await _document("set", "acme_corp", *given, env=env) == wanted
    told = (await _config("get", "acme_corp", env=env)).stdout
    assert "default_currency      EUR\n" in told
    assert 'approval_workflows    {"budget": ["controller", "cfo"]}\n' in told
    again = await _document("set", "acme_corp", "time_zone=null", "data_retention_days=30", env=env)
    assert (again["time_zone"], again["data_retention_days"]) == ("UTC", 30)


async def test_what_is_wrong_is_named(env: dict[str, str], tmp_path: Path, conn: asyncpg.Connection) -> None:
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "broken.json").write_text("{")
    for arguments, name in (
        (["data_retention_days=many"], "data_retention_days"),
        (["nothing=1"], "nothing"),
        (["default_currency"], "default_currency"),
        (["--file", str(tmp_path / "list.json")], "--file"),
        (["--file", str(tmp_path / "broken.json")], "--file"),
        (["--file", str(tmp_path / "missing.json")], "--file"),
    ):
        problem = await _document("set", "acme_corp", *arguments, env=env, code=2)
        assert (problem["code"], [error["name"] for error in problem["errors"]]) == ("usage", [name])
    assert (await _document("set", "acme_corp", env=env, code=2))["code"] == "usage"
    unknown = await _document("set", "acme_corp", "default_currency=XXX", env=env, code=1)
    assert unknown["code"] == "validation_failed"
    assert unknown["errors"] == [{"name": "default_currency", "detail": "is no ISO 4217 code"}]
    refused = await _config("set", "acme_corp", "default_currency=XXX", env=env, code=1)
    assert refused.stderr == "bf-admin: default_currency: is no ISO 4217 code\n"
    assert (await _document("get", "nobody", env=env, code=1))["code"] == "tenant_not_found"
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant_config_history") == 1


async def test_its_history_leads_back(env: dict[str, str], conn: asyncpg.Connection) -> None:
    await _config("set", "acme_corp", "default_currency=EUR", env=env)
    await conn.execute("UPDATE bf_shared.tenant_config SET max_budget_lines = 5")
    lines = (await _config("history", "acme_corp", env=env)).stdout.splitlines()
    assert lines[0].split("\t") == ["version", "changed_at", "by", "source", "changed", "reason"]
    third, second, first = (line.split("\t") for line in lines[1:])
    assert (third[0], third[3], third[4]) == ("3", "sql", "/max_budget_lines")
    assert (second[0], second[3], second[4]) == ("2", "api", "/default_currency")
    assert second[2].startswith("cli:")
    assert first[0] == "1"
    would_be = await _document("rollback", "acme_corp", "1", "--validate-only", env=env)
    assert (would_be["version"], would_be["restored_version"]) == (4, 1)
    told = await _config("rollback", "acme_corp", "1", "--reason", "a slip", env=env)
    assert told.stdout == (
        "Version 4 of tenant acme_corp is equal to version 1. Changed: /default_currency, /max_budget_lines\n"
    )
    [newest] = (await _document("history", "acme_corp", "--limit", "1", env=env))["items"]
    assert (newest["version"], newest["reason"], newest["restored_version"]) == (4, "a slip", 1)
    assert await _document("get", "acme_corp", env=env) == DEFAULTS
    missing = await _document("rollback", "acme_corp", "9", env=env, code=1)
    assert missing["code"] == "version_not_found"
    for wrong in (["0"], ["one"], ["1", "--reason", " "]):
        assert (await _document("rollback", "acme_corp", *wrong, env=env, code=2))["code"] == "usage"


async def test_a_suspended_tenant_is_configured_and_a_deleted_one_is_not(
    env: dict[str, str], conn: asyncpg.Connection
) -> None:
    await suspend(conn)
    await _config("set", "acme_corp", "audit_level=full", env=env)
    await conn.execute("SELECT bf_shared.delete_tenant('acme_corp')")
    problem = await _document("set", "acme_corp", "audit_level=basic", env=env, code=1)
    assert problem["code"] == "tenant_state_forbids"
    assert (await _document("get", "acme_corp", env=env))["audit_level"] == "full"
