"""bf-admin export-tenants and import-tenants: files that can be read back, and files that cannot."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.settings import Settings
from app.tenants.portable import CsvWriter, JsonWriter, read_csv, read_json
from tests.support import oracle
from tests.support.cluster import Cluster
from tests.support.command import command
from tests.support.data import make_tenant
from tests.support.processes import environment

_REGISTRY = """
SELECT t.tenant_id, t.tenant_name, t.state, t.subscription_tier, t.billing_contact, t.features, t.created_by,
       to_jsonb(c) - '{created_at,updated_at}'::text[] AS settings
  FROM bf_control.tenant t JOIN bf_shared.tenant_config c USING (tenant_id) ORDER BY 1
"""
_HOSTILE = {
    "tenant_id": "hostile",
    "tenant_name": '=HYPERLINK("http://x"), "quoted"; ünïcode, \'',
    "created_by": "+1",
    "subscription_tier": "premium",
    "billing_contact": "'=1+1",
    "features_enabled": ["advanced_forecasting", "ai_insights"],
    "limits": {"max_budgets": 7, "max_budget_lines": 12},
    "config": {"cost_centers": [{"code": 'a,b\n"c"'}], "default_currency": "EUR"},
    "integrations": {"auth_rbac": {"enabled": True}},
}


async def _import(path: Path, dsn: str, *more: str) -> dict[str, Any]:
    finished = await command("import-tenants", str(path), "--json", *more, env=environment(dsn))
    assert finished.code == 0, finished
    outcome: dict[str, Any] = json.loads(finished.stdout)
    return outcome


@pytest.mark.parametrize("kind", ["csv", "json"])
async def test_what_is_exported_can_be_imported_elsewhere(
    kind: str, dsn: str, cluster: Cluster, template: str, tmp_path: Path, conn: asyncpg.Connection, settings: Settings
) -> None:
    source = tmp_path / "source.json"
    source.write_text(json.dumps({"tenants": [_HOSTILE, {"tenant_id": "plain", "tenant_name": "'t Hooft"}]}))
    assert await _import(source, dsn) == {"created": 2, "existing": 0, "failed": []}
    await make_tenant(conn, "by_sql", "@SUM(1)")
    await conn.execute("UPDATE bf_shared.tenant_config SET max_budget_lines = 5 WHERE tenant_id = 'by_sql'")
    await make_tenant(conn, "deleted")
    await conn.execute("SELECT bf_shared.delete_tenant('deleted', 'gone')")
    exported = tmp_path / f"exported.{kind}"
    finished = await command("export-tenants", "--output", str(exported), "--json", env=environment(dsn))
    assert json.loads(finished.stdout) == {"output": str(exported), "tenants": 3}, finished
    other = await cluster.create_database(f"other_{kind}", template=template)
    try:
        assert (await _import(exported, other, "--dry-run"))["would_create"] == 3
        assert (await _import(exported, other))["created"] == 3
        assert await _import(exported, other) == {"created": 0, "existing": 3, "failed": []}, "again: nothing"
        there = await asyncpg.connect(other)
        expected = [dict(r) for r in await conn.fetch(_REGISTRY) if r["tenant_id"] != "deleted"]
        assert [dict(r) for r in await there.fetch(_REGISTRY)] == expected
        await there.close()
    finally:
        await cluster.drop_database(f"other_{kind}")


def test_no_cell_of_a_table_is_a_formula_and_none_is_lost() -> None:
    names = ["=1", "+1", "-1", "@x", "'=1", "''=1", "'t Hooft", "a=b", "", "\t=1", "x\r\ny", '"', "é", "'"]
    file = io.StringIO(newline="")
    writer = CsvWriter(file)
    for number, name in enumerate(names):
        writer.write({"tenant_id": f"t{number}", "tenant_name": name})
    writer.close()
    rows = list(csv.reader(io.StringIO(file.getvalue(), newline="")))
    assert not [cell for row in rows for cell in row if cell[:1] in tuple("=+-@\t\r") and cell]
    read = [tenant.get("tenant_name", "") for _, tenant in read_csv(io.StringIO(file.getvalue(), newline=""))]
    assert read == names


def test_an_export_of_nothing_is_a_file_too() -> None:
    for writer, reader in ((CsvWriter, read_csv), (JsonWriter, read_json)):
        file = io.StringIO(newline="")
        writer(file).close()
        assert list(reader(io.StringIO(file.getvalue(), newline=""))) == []


async def test_every_line_is_checked_before_any_tenant_is_made(
    dsn: str, tmp_path: Path, conn: asyncpg.Connection
) -> None:
    await make_tenant(conn, "taken")
    path = tmp_path / "tenants.csv"
    path.write_text(
        "\ufefftenant_id,tenant_name,subscription_tier,limits,config\r\n"
        "good,Good,,,\r\n"
        "Bad Id,Bad,,,\r\n"
        "good,Twice,,,\r\n"
        "taken,Taken,,,\r\n"
        '"multi_line","Two\nlines",,,\r\n'
        "no_tier,X,platinum,,\r\n"
        'limits,X,,"{""max_budgets"": -1}",\r\n'
        'zone,X,,,"{""time_zone"": ""Mars/Base""}"\r\n',
        encoding="utf-8",
    )
    finished = await command("import-tenants", str(path), "--json", env=environment(dsn))
    assert finished.code == 1, finished
    told = json.loads(finished.stdout)
    assert told["code"] == "invalid_file"
    assert [e["name"] for e in told["errors"]] == ["line 3", "line 4", "line 7", "line 9"]
    path.write_text(
        "tenant_id,tenant_name,subscription_tier,config\ngood,Good,,\ntaken,Taken,,\nno_tier,X,platinum,\n"
        'zone,X,,"{""time_zone"": ""Mars/Base""}"\n'
    )
    finished = await command("import-tenants", str(path), env=environment(dsn))
    assert finished.code == 1
    assert "bf-admin: line 3: tenant_id: taken exists" in finished.stderr
    assert "bf-admin: line 4: subscription_tier: is not in the catalogue" in finished.stderr
    assert "bf-admin: line 5: config.time_zone: is no IANA time zone" in finished.stderr
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == 1


async def test_files_that_cannot_be_read(dsn: str, tmp_path: Path) -> None:
    env = environment(dsn)
    for name, content, code, said in (
        ("a.csv", b"tenant_id,nonsense\nx1,y\n", 1, "line 1: "),
        ("b.csv", b"tenant_id,tenant_name\nx1,y,z\n", 1, "line 2: it must have 2 cells"),
        ("c.csv", b'tenant_id,tenant_name,config\nx1,y,"{"\n', 1, "line 2: config is no JSON"),
        ("d.csv", b"\xff\xfe\x00", 2, "cannot be read"),
        ("e.csv", b"", 1, "line 1: "),
        ("f.json", b'{"tenants":\n [}', 1, "line 2: "),
        ("g.json", b'"text"', 1, "line 1: it must be"),
        ("h.json", b"[1]", 1, "tenant 1: "),
    ):
        (tmp_path / name).write_bytes(content)
        finished = await command("import-tenants", str(tmp_path / name), env=env)
        assert (finished.code, said in finished.stderr) == (code, True), (name, finished)
    finished = await command("import-tenants", str(tmp_path / "absent.csv"), env=env)
    assert (finished.code, "cannot be read" in finished.stderr) == (2, True), finished


async def test_one_that_fails_is_told_and_the_others_are_made(
    dsn: str, tmp_path: Path, conn: asyncpg.Connection, settings: Settings
) -> None:
    await conn.execute("CREATE SCHEMA bf_in_the_way")
    path = tmp_path / "tenants.json"
    path.write_text(json.dumps([{"tenant_id": name, "tenant_name": name} for name in ("one", "in_the_way", "two")]))
    finished = await command("import-tenants", str(path), "--json", env=environment(dsn))
    assert finished.code == 3, finished
    outcome = json.loads(finished.stdout)
    assert (outcome["created"], [f["tenant_id"] for f in outcome["failed"]]) == (2, ["in_the_way"])
    await conn.execute("DROP SCHEMA bf_in_the_way")
    assert await _import(path, dsn) == {"created": 1, "existing": 2, "failed": []}
    await oracle.assert_clean(dsn)
