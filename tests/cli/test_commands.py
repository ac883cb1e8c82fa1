"""bf-admin: upgrade, downgrade, create-tenant, list-tenants, sql, api-key, openapi, and their exit codes."""

import json
import re
import secrets
from pathlib import Path

import asyncpg
import httpx
import pytest

from app.settings import Settings
from tests.support import oracle
from tests.support.api import Api, running_api
from tests.support.cluster import Cluster
from tests.support.command import command
from tests.support.data import schemas, settings_for
from tests.support.problems import problem
from tests.support.processes import Finished, bf_admin, environment


def _good(finished: Finished, *, code: int = 0) -> str:
    assert finished.code == code, finished
    assert "Traceback" not in finished.stderr, finished.stderr
    return finished.stdout


async def test_a_database_from_empty_to_empty(empty_dsn: str) -> None:
    env = environment(empty_dsn)
    finished = await command("list-tenants", env=env)
    _good(finished, code=1)
    assert "bf-admin upgrade" in finished.stderr
    assert (
        "bf-admin upgrade"
        in (await command("create-tenant", "--tenant-id", "ab", "--tenant-name", "A", env=env)).stderr
    )

    finished = await command("api-key", "list", env=env)
    assert (finished.code, finished.stderr) == (1, "bf-admin: Install the schema first: bf-admin upgrade.\n")
    for arguments in (["downgrade"], ["downgrade", "--json"]):
        nothing = await command(*arguments, env=env)
        assert ("bf_" not in _good(nothing), nothing.stderr) == (True, "")

    first = json.loads(_good(await command("upgrade", "--json", env=env)))
    assert first["applied"]
    assert "up to date" in _good(await command("upgrade", env=env))
    assert json.loads(_good(await command("upgrade", "--json", env=env)))["applied"] == []

    finished = await command("list-tenants", env=env)
    assert (_good(finished), "no tenants" in finished.stderr) == ("", True)
    assert json.loads(_good(await command("list-tenants", "--json", env=env))) == {"items": []}
    made = await command(
        "create-tenant",
        "--tenant-id",
        "acme_corp",
        "--tenant-name",
        "ACME",
        "--created-by",
        "admin_1",
        "--json",
        env=env,
    )
    assert json.loads(_good(made))["state"] == "active"
    assert "bf_b2" in _good(await command("create-tenant", "--tenant-id", "b2", "--tenant-name", "B", env=env))
    again = await command("create-tenant", "--tenant-id", "acme_corp", "--tenant-name", "ACME", env=env)
    _good(again, code=1)
    assert "exists" in again.stderr
    listed = json.loads(_good(await command("list-tenants", "--json", env=env)))["items"]
    assert [(t["tenant_id"], t["tenant_name"]) for t in listed] == [("acme_corp", "ACME"), ("b2", "B")]
    assert listed[0]["created_by"] == "admin_1"
    lines = _good(await command("list-tenants", env=env)).splitlines()
    assert [line.split("\t")[0] for line in lines] == ["tenant_id", "acme_corp", "b2"]
    await oracle.assert_clean(empty_dsn)

    conn = await asyncpg.connect(empty_dsn)
    before = await schemas(conn)
    refused = await command("downgrade", env=env)
    plan = _good(refused, code=2)
    assert "bf_acme_corp" in plan
    assert "--confirm-destroy" in refused.stderr
    assert await schemas(conn) == before
    document = json.loads(_good(await command("downgrade", "--json", env=env), code=2))
    assert [t["tenant_id"] for t in document["tenants"]] == ["acme_corp", "b2"]
    assert await schemas(conn) == before
    _good(await command("downgrade", "--confirm-destroy", env=env))
    assert await schemas(conn) == set()
    assert "Nothing is installed" in _good(await command("downgrade", "--confirm-destroy", env=env))
    await conn.close()


async def test_a_tenant_left_failed_by_rest_is_repaired_by_the_command(
    api: Api, settings: Settings, conn: asyncpg.Connection
) -> None:
    env = environment(settings.direct_dsn())
    await conn.execute("CREATE SCHEMA bf_acme_corp")
    assert (await api.provision("acme_corp")).json()["status"] == "failed"
    arguments = ["create-tenant", "--tenant-id", "acme_corp", "--tenant-name"]
    still = await command(*arguments, "ACME Corporation", env=env)
    _good(still, code=1)
    assert "bf_acme_corp" in still.stderr
    assert (await api.client.get("/v1/tenants/acme_corp")).json()["state"] == "failed"
    await conn.execute("DROP SCHEMA bf_acme_corp")
    _good(await command(*arguments, "Another", env=env), code=1)
    assert (await api.client.get("/v1/tenants/acme_corp")).json()["state"] == "failed"
    assert "active" in _good(await command(*arguments, "ACME Corporation", env=env))
    assert (await api.client.get("/v1/tenants/acme_corp")).json()["state"] == "active"
    problem(await api.provision("acme_corp"), 409, "tenant_exists")
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_tenant_of_the_command_has_an_operation_that_rest_shows(idle_api: Api, settings: Settings) -> None:
    env = environment(settings.direct_dsn())
    _good(await command("create-tenant", "--tenant-id", "acme_corp", "--tenant-name", "ACME", env=env))
    tenant = (await idle_api.client.get("/v1/tenants/acme_corp")).json()
    operation = (await idle_api.client.get(tenant["last_operation"])).json()
    assert (operation["status"], operation["kind"]) == ("succeeded", "tenant.provision")


async def test_ids_and_names_that_are_none_are_exit_2_and_make_nothing(
    dsn: str, conn: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    env = environment(dsn)
    for tenant_id, name in (
        ("", "A"), ("A", "A"), ("shared", "A"), ("pg_x", "A"), ("a" * 37, "A"), ("a'b", "A"), ("a;drop", "A"),
        ("é1", "A"),        ("ok", ""), ("ok", " "), ("ok", "x" * 256), ("ok", "a\nb"),
    ):  # fmt: skip
        with subtests.test(f"{tenant_id[:20]} {name[:20]}"):
            finished = await command("create-tenant", "--tenant-id", tenant_id, "--tenant-name", name, env=env)
            assert _good(finished, code=2) == ""
            assert "--tenant-" in finished.stderr
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == 0


async def test_a_lying_setup_tenant_fails_the_command_and_leaves_nothing(dsn: str, conn: asyncpg.Connection) -> None:
    await conn.execute(
        """CREATE OR REPLACE FUNCTION bf_shared.setup_tenant(tenant_id text, tenant_name text, created_by text)
           RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN true; END $$"""
    )
    finished = await command("create-tenant", "--tenant-id", "acme", "--tenant-name", "A", env=environment(dsn))
    _good(finished, code=1)
    assert "left tenant acme provisioning" in finished.stderr
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == 0


async def test_an_upgrade_that_one_tenant_resists_is_exit_3_and_names_it(dsn: str, conn: asyncpg.Connection) -> None:
    await conn.execute("SELECT bf_shared.setup_tenant('good', 'G', 't'), bf_shared.setup_tenant('odd', 'O', 't')")
    await conn.execute("UPDATE bf_control.tenant SET schema_version = 0")
    await conn.execute("DELETE FROM bf_control.tenant_statement WHERE section <> 'grant'")
    await conn.execute("DROP INDEX bf_odd.idx_odd_budgets_status")
    finished = await command("upgrade", "--json", env=environment(dsn))
    outcome = json.loads(_good(finished, code=3))
    assert (outcome["upgraded"], list(outcome["failed"])) == (["good"], ["odd"])
    assert "idx_odd_budgets_status" in outcome["failed"]["odd"]
    assert "odd:" in finished.stderr


async def test_a_missing_privilege_is_exit_1_with_the_grant(
    empty_dsn: str, cluster: Cluster, subtests: pytest.Subtests
) -> None:
    name = empty_dsn.rpartition("/")[2]
    admin = await cluster.superuser(name)
    await admin.execute(f'REVOKE CREATE ON DATABASE "{name}" FROM bf_migrator')
    await admin.close()
    for arguments in (["upgrade"], ["api-key", "create", "--name", "x", "--role", "viewer"]):
        with subtests.test(arguments[0]):
            finished = await command(*arguments, env=environment(empty_dsn))
            _good(finished, code=1)
            assert f"GRANT CREATE ON DATABASE {name} TO bf_migrator" in finished.stderr


async def test_wrong_variables_are_named(dsn: str, subtests: pytest.Subtests) -> None:
    password = dsn.partition("://")[2].partition("@")[0].partition(":")[2]
    for name, value, code in (
        ("BF_ENABLE_RLS", "maybe", 2), ("BF_LOG_LEVEL", "LOUD", 2), ("BF_SCHEMA_NAME", "x" * 64, 2),
        ("BF_APP_ROLE", "pg_monitor", 2), ("BF_CREATE_ROLES", "2", 2), ("BF_DB_POOL_MAX", "many", 2),
        ("BF_ENABLE_RLS", "false", 1), ("BF_SCHEMA_NAME", "bf_other", 1), ("BF_AUDIT_ROLE", "other", 1),
    ):  # fmt: skip
        for arguments in (["upgrade"], ["create-tenant", "--tenant-id", "ab", "--tenant-name", "A"]):
            with subtests.test(f"{name}={value[:9]} {arguments[0]}"):
                finished = await command(*arguments, env=environment(dsn, **{name: value}))
                assert _good(finished, code=code) == ""
                assert finished.stderr.startswith("bf-admin: ")
                assert name in finished.stderr
                assert password not in finished.stderr


async def test_a_log_level_is_taken_in_any_case(dsn: str) -> None:
    _good(await command("list-tenants", env=environment(dsn, BF_LOG_LEVEL="warning")))


async def test_wrong_database_urls_are_told_without_their_password(dsn: str, subtests: pytest.Subtests) -> None:
    secret = secrets.token_hex(8)
    rest = dsn.partition("@")[2]
    for url, code in (
        ("", 2), ("acme", 2), (f"mysql://u:{secret}@h/d", 2), (f"postgresql://u:{secret}@127.0.0.1:1/d", 1),
        (f"postgresql://bf_migrator:{secret}@{rest}", 1), (f"postgresql://nobody:{secret}@{rest}", 1),
        (f"postgresql://bf_migrator:{secret}@{rest}?channel_binding=require", 2),
    ):  # fmt: skip
        with subtests.test(url.replace(secret, "SECRET")):
            finished = await command("list-tenants", env=environment(url))
            assert _good(finished, code=code) == ""
            assert finished.stderr.strip()
            assert secret not in finished.stderr


async def test_a_password_to_be_encoded_is_told_with_the_line_that_does_it(subtests: pytest.Subtests) -> None:
    """Wherever the character cuts the URL, and also where what is left of the password would be a port."""
    before, after = secrets.token_hex(8), secrets.token_hex(8)
    for password in (
        f"{before}/{after}", f"{before}#{after}", f"{before}?{after}", f"{before}@{after}", f"{before}[{after}",
        f"12/{after}", f"12#{after}", f"12?{after}", f"1/2?{after}", f"{before},{after}/{after}",
        f"{before}\N{ACCOUNT OF}{after}",
    ):  # fmt: skip
        for arguments in (["list-tenants"], ["doctor"]):
            with subtests.test(f"{arguments[0]} {password.replace(before, 'B').replace(after, 'A')}"):
                env = {"DATABASE_URL": f"postgresql://u:{password}@127.0.0.1:5432/d"}
                finished = await command(*arguments, env=env)
                assert _good(finished, code=2) == ""
                assert "percent-encode it: python3 -c" in finished.stderr
                assert before not in finished.stderr
                assert after not in finished.stderr


@pytest.mark.parametrize(
    "url", ["postgresql://127.0.0.1:1/d?user=me@host", "postgresql://me%40host:p%2Fq@127.0.0.1:1/d"]
)
async def test_an_at_sign_that_cuts_nothing_is_taken(url: str) -> None:
    finished = await command("list-tenants", env=environment(url))
    assert "encode" not in finished.stderr
    _good(finished, code=1)


async def test_a_wrong_password_names_the_role_the_database_and_the_variable(dsn: str) -> None:
    place = dsn.partition("@")[2]
    wrong = f"postgresql://bf_migrator:wrong@{place}"
    where = f"cannot connect as bf_migrator at {place.replace('/', ', database ')}"
    for variables, variable in (({}, "DATABASE_URL"), ({"BF_DIRECT_DATABASE_URL": wrong}, "BF_DIRECT_DATABASE_URL")):
        finished = await command("upgrade", env={"DATABASE_URL": wrong, **variables})
        _good(finished, code=1)
        assert finished.stderr.startswith(f"bf-admin: {where} ({variable}): password authentication failed")
        assert "bf-admin doctor says what mends it" in finished.stderr


async def test_keys_are_made_listed_and_revoked(dsn: str, tmp_path: Path) -> None:
    env = environment(dsn)
    made = json.loads(
        _good(
            await command(
                "api-key", "create", "--name", "ci", "--role", "operator", "--expires", "30d", "--json", env=env
            )
        )
    )
    assert made.keys() == {"id", "key"}
    bare = _good(await command("api-key", "create", "--name", "monitor", "--role", "viewer", env=env)).strip()
    assert bare.startswith("bfk_")
    listed = json.loads(_good(await command("api-key", "list", "--json", env=env)))["items"]
    assert [(k["name"], k["role"], k["revoked_at"]) for k in listed] == [
        ("ci", "operator", None),
        ("monitor", "viewer", None),
    ]
    for time in (listed[0]["created_at"], listed[0]["expires_at"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", time)
    table = _good(await command("api-key", "list", env=env))
    assert made["key"].partition(".")[2] not in table + json.dumps(listed)
    settings = settings_for(dsn, bootstrap_admin_key_file=tmp_path / "admin-key")
    async with running_api(settings, with_worker=False) as api:

        async def call(key: str) -> httpx.Response:
            return await api.client.get("/v1/schema", headers={"Authorization": f"Bearer {key}"})

        assert ((await call(made["key"])).status_code, (await call(bare)).status_code) == (200, 200)
        _good(await command("api-key", "revoke", made["id"], env=env))
        problem(await call(made["key"]), 401)
        assert (await call(bare)).status_code == 200
    _good(await command("api-key", "revoke", made["id"], env=env))
    unknown = await command("api-key", "revoke", "0" * 16, env=env)
    _good(unknown, code=1)
    for wrong in (
        ["--role", "god"],
        ["--role", "viewer", "--expires", "soon"],
        ["--role", "viewer", "--expires", "0d"],
    ):
        _good(await command("api-key", "create", "--name", "x", *wrong, env=env), code=2)
    _good(await command("api-key", "create", "--name", " ", "--role", "viewer", env=env), code=1)
    nobody = await command("api-key", "create", "--name", "x", "--role", "reader", "--tenant", "nobody", env=env)
    _good(nobody, code=1)
    assert len(json.loads(_good(await command("api-key", "list", "--json", env=env)))["items"]) == 3, (
        "two, and the service's own"
    )


async def test_usage_errors_are_exit_2(dsn: str) -> None:
    env = environment(dsn)
    for arguments in (
        ["nonsense"], ["upgrade", "--nonsense"], ["create-tenant"], ["create-tenant", "--tenant-id", "ab"],
        ["serve", "--port", "0"], ["serve", "--port", "x"], ["api-key"], ["api-key", "revoke"], ["sql"], [],
    ):  # fmt: skip
        assert (await command(*arguments, env=env)).code == 2, arguments
    for arguments in (["--help"], ["serve", "--help"], ["api-key", "create", "-h"]):
        assert (await command(*arguments, env=env)).code == 0, arguments
    without = {name: value for name, value in env.items() if not name.endswith("DATABASE_URL")}
    for arguments in (["upgrade"], ["serve"], ["worker"], ["list-tenants"]):
        finished = await command(*arguments, env=without)
        _good(finished, code=2)
        assert "DATABASE_URL" in finished.stderr


async def test_the_openapi_document_is_what_the_service_serves(idle_api: Api, tmp_path: Path) -> None:
    printed = json.loads(_good(await command("openapi", env={})))
    assert printed == (await idle_api.client.get("/openapi.json")).json()
    _good(await command("openapi", "--output", str(tmp_path / "openapi.json"), env={}))
    assert json.loads((tmp_path / "openapi.json").read_text()) == printed


async def test_the_script_for_a_dba_asks_no_database_and_names_the_settings() -> None:
    text = _good(await command("sql", "upgrade", env={"BF_SCHEMA_NAME": "bf_elsewhere"}))
    assert 'CREATE SCHEMA "bf_elsewhere"' in text
    assert text == _good(await command("sql", "upgrade", env={"BF_SCHEMA_NAME": "bf_elsewhere"}))


async def test_as_a_process_it_does_the_same(dsn: str) -> None:
    """What the tests above run inside this one; here is python -m app, its exit code and its streams."""
    env = environment(dsn)
    made = await bf_admin("create-tenant", "--tenant-id", "acme", "--tenant-name", "A", "--json", env=env)
    assert json.loads(_good(made))["tenant_id"] == "acme"
    assert made.stderr == ""
    again = await bf_admin("create-tenant", "--tenant-id", "acme", "--tenant-name", "A", env=env)
    _good(again, code=1)
    assert again.stderr.startswith("bf-admin: ")
