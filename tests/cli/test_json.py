"""--json: every command that ends takes it, and prints one JSON document, also where it fails."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.main import get_command

from app import keyring
from app.cli import cli
from tests.support.cluster import Cluster
from tests.support.command import command
from tests.support.processes import Finished, environment, free_port

# What each does well, with the keys of its document. `{}` are filled in by the test.
_GOOD = {
    "upgrade": ([], {"applied", "upgraded", "failed", "warnings"}),
    "create-tenant": (["--tenant-id", "acme", "--tenant-name", "A"], {"tenant_id", "state", "schema_name"}),
    "list-tenants": ([], {"items"}),
    "export-tenants": ([], {"tenants"}),
    "import-tenants": (
        [str(Path(__file__).with_name("tenants.csv")), "--dry-run"],
        {"would_create", "existing", "failed"},
    ),
    "limits get": (["acme"], {"max_budget_lines", "sources"}),
    "limits set": (["acme", "max_budgets=5", "max_budget_lines=default"], {"max_budgets", "sources"}),
    "limits recount": (["acme"], {"tenant_id", "counters"}),
    "limits catalog": ([], {"items"}),
    "limits define": (["max_other", "--unit", "count", "--maximum", "9", "--tier", "basic=3"], {"name", "tiers"}),
    "usage": (["acme"], {"usage", "events"}),
    "tenant show": (["acme"], {"tenant_id", "state"}),
    "tenant suspend": (["acme", "--reason", "unpaid"], {"tenant_id", "state_reason"}),
    "tenant resume": (["acme"], {"tenant_id", "state"}),
    "tenant verify": (["acme"], {"ok", "missing", "extra", "altered"}),
    "tenant repair": (["acme"], {"tenant_id", "made", "removed", "altered", "kept"}),
    "tenant backup": (["acme"], {"id", "url", "sha256"}),
    "tenant backups": (["acme"], {"items"}),
    "integrations set": (["acme", "auth_rbac", "--endpoint", "{endpoint}"], {"capability", "credentials"}),
    "integrations get": (["acme", "auth_rbac"], {"capability", "credentials"}),
    "integrations list": (["acme"], {"items"}),
    "integrations check": (["acme", "auth_rbac"], {"ok", "error"}),
    "integrations delete": (["acme", "auth_rbac", "--yes"], {"capability", "deleted"}),
    "health fleet": ([], {"items", "database", "collections", "taken_at", "notes"}),
    "health tables": ([], {"items", "taken_at", "notes"}),
    "health indexes": (["--unused"], {"items", "taken_at", "notes"}),
    "health queries": ([], {"items", "taken_at", "notes"}),
    "health connections": ([], {"items", "taken_at", "notes"}),
    "audit list": ([], {"items"}),
    "audit export": (["--tenant-id", "acme"], {"items"}),
    "audit verify": ([], {"ok", "rows", "head", "first_bad"}),
    "audit anchor": ([], {"anchor"}),
    "secrets rotate": ([], {"rotated", "current", "unreadable"}),
    "webhook create": (["--url", "{endpoint}"], {"id", "secret"}),
    "webhook list": ([], {"items"}),
    "webhook show": (["{key_id}"], {"id", "url"}),
    "webhook rotate": (["{key_id}", "--overlap", "60"], {"id", "secret"}),
    "webhook enable": (["{key_id}"], {"id", "enabled"}),
    "webhook deliveries": (["{key_id}"], {"items"}),
    "webhook replay": (["{key_id}", "--since", "2026-01-31T09:00:00Z"], {"replayed", "next_since"}),
    "webhook test": (["{webhook_id}"], {"id", "status"}),
    "webhook delete": (["{webhook_id}", "--yes"], {"id", "deleted"}),
    "tenant delete": (["acme", "--yes"], {"tenant_id", "purge_time"}),
    "tenant purge": (["acme", "--yes"], {"tenant_id", "backup_id"}),
    "tenant restore": (["acme"], {"tenant_id", "state"}),
    "tenant delete-many": (["--tier", "basic", "--yes"], {"operation", "deleted"}),
    "plan show": (["{plan_id}"], {"id", "loss"}),
    "plan approve": (["{plan_id}"], {"id", "approved_by"}),
    "config get": (["acme"], {"default_currency", "cost_centers"}),
    "config set": (["acme", "default_currency=EUR"], {"default_currency", "cost_centers"}),
    "config history": (["acme"], {"items"}),
    "config rollback": (["acme", "1"], {"version", "restored_version", "difference"}),
    "features list": (["acme"], {"features"}),
    "features enable": (["acme", "ai_insights"], {"features"}),
    "features disable": (["acme", "ai_insights"], {"features"}),
    "features reset": (["acme", "ai_insights"], {"features"}),
    "catalog features": ([], {"items"}),
    "catalog tiers": ([], {"items"}),
    "catalog put-feature": (["exports", "--tier", "premium", "--requires", "ai_insights"], {"name", "requires"}),
    "catalog put-tier": (["gold", "--rank", "45"], {"name", "rank"}),
    "doctor": ([], {"status", "checks"}),
    "isolation check": ([], {"status", "faults"}),
    "api-key create": (["--name", "n", "--role", "viewer"], {"id", "key"}),
    "api-key list": ([], {"items"}),
    "api-key rotate": (["{key_id}", "--overlap", "1h"], {"id", "key", "replaces"}),
    "api-key revoke": (["{key_id}"], {"id", "revoked"}),
    "sql upgrade": ([], {"sql"}),
    "openapi": ([], {"openapi", "paths"}),
    "downgrade": (["--confirm-destroy"], {"plan", "dropped"}),
}
_PLAN = "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e13"
_SERVERS = {"serve", "worker", "up"}
_LIVE = {"top"}
# Says as a document, and as no problem, that all is not well: tests/cli/test_status.py.
_VERDICTS = {"status"}
_NEEDS_NO_DATABASE = {"sql upgrade", "openapi"}


def _commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command there is, by its words."""
    for name, found in (group or get_command(cli)).commands.items():
        if hasattr(found, "commands"):
            yield from _commands(found, (*path, name))
        else:
            yield " ".join((*path, name)), found


def _document(finished: Finished, code: int) -> dict[str, Any]:
    """The one document on standard output."""
    assert finished.code == code, finished
    assert "Traceback" not in finished.stderr, finished.stderr
    document: dict[str, Any] = json.loads(finished.stdout)
    return document


def _problem(finished: Finished, code: int, name: str) -> dict[str, Any]:
    problem = _document(finished, code)
    assert problem["code"] == name
    assert problem["title"]
    assert problem["detail"]
    assert finished.stderr.strip(), "people read standard error"
    return problem


def _words(name: str) -> list[str]:
    arguments, _ = _GOOD[name]
    return [
        *name.split(),
        *(
            argument.format(key_id="0" * 16, webhook_id="0" * 32, plan_id=_PLAN, endpoint="https://auth.acme.example")
            for argument in arguments
        ),
        "--json",
    ]


def test_every_command_is_in_this_file() -> None:
    found = dict(_commands())
    assert found.keys() == _GOOD.keys() | _SERVERS | _LIVE | _VERDICTS
    for name, one in found.items():
        takes = {option for parameter in one.params for option in parameter.opts}
        assert ("--json" in takes) != (name in _SERVERS | _LIVE), name


async def test_what_goes_well_is_one_document(empty_dsn: str, tmp_path: Path) -> None:
    """In the order of a database's life."""
    key_id, webhook_id, port = "", "", free_port()
    env = environment(
        empty_dsn,
        BF_BACKUP_URL=str(tmp_path / "backups"),
        BF_INTEGRATION_ALLOW=f"127.0.0.1:{port}",
        BF_SECRET_KEYS=keyring.new_key(),
        BF_AUDIT_ANCHOR_URL=str(tmp_path / "anchors"),
    )
    async with await asyncio.start_server(_no_content, "127.0.0.1", port):
        for name, (arguments, keys) in _GOOD.items():
            if name == "plan show":
                await _plan_of_somebody_else(empty_dsn)
            known = {"key_id": key_id, "webhook_id": webhook_id, "plan_id": _PLAN}
            filled = [one.format(**known, endpoint=f"http://127.0.0.1:{port}") for one in arguments]
            document = _document(await command(*name.split(), *filled, "--json", env=env), 0)
            assert keys <= document.keys(), name
            key_id = str(document.get("id", key_id))
            webhook_id = key_id if name == "webhook create" else webhook_id
    assert key_id


async def _plan_of_somebody_else(dsn: str) -> None:
    conn = await asyncpg.connect(dsn)
    await conn.execute(
        """INSERT INTO bf_control.plan
               (id, token_hash, action, target, actor, digest, document, needs_approval, expires_at)
           VALUES ($1, '', 'schema.downgrade', 'schema', 'key:1', '', '{}', true, now() + interval '1 minute')""",
        _PLAN,
    )
    await conn.close()


async def _no_content(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What a working endpoint answers."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("name", _GOOD)
async def test_what_typer_finds_wrong_is_a_problem(name: str) -> None:
    problem = _problem(await command(*_words(name), "--nonsense", env={}), 2, "usage")
    assert "--nonsense" in problem["detail"]


@pytest.mark.parametrize("name", _GOOD)
async def test_a_wrong_variable_is_a_problem_that_names_it(name: str) -> None:
    env = environment("postgresql://u@127.0.0.1:1/d", BF_SCHEMA_NAME="x" * 64)
    problem = _problem(await command(*_words(name), env=env), 2, "usage")
    assert problem["errors"][0]["name"] == "BF_SCHEMA_NAME"


@pytest.mark.parametrize("name", sorted(_GOOD.keys() - _NEEDS_NO_DATABASE))
async def test_a_url_that_is_none_is_a_problem(name: str) -> None:
    _problem(await command(*_words(name), env={}), 2, "usage")
    _problem(await command(*_words(name), env={"DATABASE_URL": "mysql://u@h/d"}), 2, "usage")


@pytest.mark.parametrize("name", sorted(_GOOD.keys() - _NEEDS_NO_DATABASE))
async def test_a_database_that_is_away_is_a_problem(name: str) -> None:
    finished = await command(*_words(name), env=environment(f"postgresql://u:hidden@127.0.0.1:{free_port()}/d"))
    if name == "doctor":  # whose findings are its document, whatever they are
        assert _document(finished, 1)["checks"]["connection"]["status"] == "fail"
    else:
        detail = _problem(finished, 1, "unavailable")["detail"]
        assert re.match(
            r"cannot connect as u at 127\.0\.0\.1:\d+, database d \(DATABASE_URL\): connection refused", detail
        )
        assert detail in finished.stderr
    assert "hidden" not in finished.stdout + finished.stderr


async def test_each_refusal_has_the_code_that_rest_has(empty_dsn: str, dsn: str, cluster: Cluster) -> None:
    name = empty_dsn.rpartition("/")[2]
    admin = await cluster.superuser(name)
    await admin.execute(f'REVOKE CREATE ON DATABASE "{name}" FROM bf_migrator')
    await admin.close()
    missing = _problem(await command("upgrade", "--json", env=environment(empty_dsn)), 1, "privilege_missing")
    assert "GRANT CREATE ON DATABASE" in missing["detail"]
    _problem(await command("list-tenants", "--json", env=environment(empty_dsn)), 1, "schema_not_installed")
    again = ["create-tenant", "--tenant-id", "acme", "--tenant-name", "A", "--json"]
    _document(await command(*again, env=environment(dsn)), 0)
    _problem(await command(*again, env=environment(dsn)), 1, "tenant_exists")
    _problem(await command("api-key", "revoke", "0" * 16, "--json", env=environment(dsn)), 1, "api_key_not_found")
    other = environment(dsn, BF_APP_ROLE="other")
    _problem(await command("upgrade", "--json", env=other), 1, "database_error")
    wrong = ["create-tenant", "--tenant-id", "No", "--tenant-name", "", "--json"]
    problem = _problem(await command(*wrong, env=environment(dsn)), 2, "usage")
    assert {error["name"] for error in problem["errors"]} == {"--tenant-id", "--tenant-name"}


async def test_what_failed_in_part_is_the_document_of_the_whole(dsn: str, conn: asyncpg.Connection) -> None:
    await conn.execute("SELECT bf_shared.setup_tenant('good', 'G', 't'), bf_shared.setup_tenant('odd', 'O', 't')")
    await conn.execute("UPDATE bf_control.tenant SET schema_version = 0")
    await conn.execute("DELETE FROM bf_control.tenant_statement WHERE section <> 'grant'")
    await conn.execute("DROP INDEX bf_odd.idx_odd_budgets_status")
    document = _document(await command("upgrade", "--json", env=environment(dsn)), 3)
    assert (document["upgraded"], list(document["failed"])) == (["good"], ["odd"])


async def test_an_unconfirmed_downgrade_is_its_plan(dsn: str) -> None:
    document = _document(await command("downgrade", "--json", env=environment(dsn)), 2)
    assert document.keys() == {"database", "tenants", "bytes", "blockers"}


async def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    missing = tmp_path / "no" / "openapi.json"
    _problem(await command("openapi", "--output", str(missing), "--json", env={}), 1, "failed")
    written = tmp_path / "openapi.json"
    document = _document(await command("openapi", "--output", str(written), "--json", env={}), 0)
    assert document == {"output": str(written)}
    assert json.loads(written.read_text())["openapi"]
