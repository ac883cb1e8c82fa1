"""bf-admin integrations and secrets: the same services, with secrets from files and standard input alone."""

import json
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.audit.model import Origin
from app.db.pool import Database
from app.integrations.rotation import rotate
from app.keyring import Keyring, Sealed, parse_keys
from tests.integrations.support import ENDPOINT, KEY, OTHER_KEY
from tests.support.command import command
from tests.support.data import make_tenant
from tests.support.processes import Finished, bf_admin, environment, free_port, run

pytestmark = pytest.mark.usefixtures("tenant")

_SECRET = "hush-hush"
_KEYS = "SELECT name, key_id, set_at FROM bf_control.integration_secret ORDER BY tenant_id, capability, name"


async def _said(*arguments: str, env: dict[str, str], code: int = 0) -> dict[str, Any]:
    finished = await command(*arguments, "--json", env=env)
    assert finished.code == code, finished
    assert _SECRET not in finished.stdout + finished.stderr
    document: dict[str, Any] = json.loads(finished.stdout)
    return document


@pytest.fixture
def env(dsn: str) -> dict[str, str]:
    return environment(dsn, BF_SECRET_KEYS=KEY)


async def test_an_integration_is_set_shown_and_deleted(
    env: dict[str, str], conn: asyncpg.Connection, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{_SECRET}\n")
    where = ["acme_corp", "auth_rbac"]
    made = await _said(
        "integrations", "set", *where, "--endpoint", ENDPOINT, "--realm", "acme",
        "--secret-file", f"client_secret={secret}", env=env,
    )  # fmt: skip
    assert (made["endpoint"], made["credentials"]["client_secret"]["set"]) == (ENDPOINT, True)
    assert made["credentials"]["client_secret"]["set_by"].startswith("cli:")
    changed = await _said("integrations", "set", *where, "--disabled", "--realm", "", env=env)
    assert (changed["enabled"], changed["endpoint"], changed["realm"]) == (False, ENDPOINT, None)
    assert changed["credentials"] == made["credentials"]
    assert await _said("integrations", "get", *where, env=env) == changed
    assert (await _said("integrations", "list", "acme_corp", env=env))["items"] == [changed]
    finished = await command("integrations", "get", *where, env=env)
    assert "set 0 min ago by cli:" in finished.stdout
    finished = await command("integrations", "list", "acme_corp", env=env)
    assert finished.stdout.splitlines()[1].split("\t") == ["auth_rbac", "false", ENDPOINT, "client_secret", "true"]
    gone = await _said("integrations", "set", *where, "--remove-secret", "client_secret", env=env)
    assert not gone["credentials"]["client_secret"]["set"]
    assert (await _said("integrations", "delete", *where, "--yes", env=env))["deleted"] is True
    assert (await _said("integrations", "get", *where, env=env, code=1))["code"] == "integration_not_found"
    row = await conn.fetchrow("SELECT actor, action FROM bf_control.audit ORDER BY id DESC LIMIT 1")
    assert (row["actor"].startswith("cli:"), row["action"]) == (True, "integration.delete")


async def test_a_secret_comes_from_standard_input(
    env: dict[str, str], conn: asyncpg.Connection, tmp_path: Path
) -> None:
    script = 'printf "%s\\n" "$S" | "$PYTHON" -m app integrations set acme_corp auth_rbac --secret token --json'
    finished = await run("sh", "-c", script, env={**env, "S": _SECRET, "PYTHON": sys.executable})
    assert finished.code == 0, finished
    assert json.loads(finished.stdout)["credentials"]["token"]["set"] is True
    row = await conn.fetchrow("SELECT key_id, ciphertext FROM bf_control.integration_secret")
    assert Keyring(parse_keys(KEY)).open(Sealed(**dict(row)), "acme_corp", "auth_rbac", "token") == _SECRET


_WRONG: list[tuple[list[str], str]] = [
    (["auth_rbac", "--endpoint", "http://10.0.0.1"], "--endpoint"),
    (["auth_rbac", "--endpoint", "nonsense"], "--endpoint"),
    (["auth_rbac", "--level", "detailed"], "--level"),
    (["ai_orchestration", "--model", "a", "--model", ""], "--model"),
    (["teleport"], "CAPABILITY"),
    (["auth_rbac", "--remove-secret", "pin"], "credential pin"),
    (["auth_rbac", "--secret-file", "token"], "--secret-file"),
    (["auth_rbac", "--secret-file", "token=/no/such/file"], "--secret-file"),
]


@pytest.mark.parametrize(("arguments", "option"), _WRONG)
async def test_what_is_wrong_is_named_by_its_option(arguments: list[str], option: str, env: dict[str, str]) -> None:
    document = await _said("integrations", "set", "acme_corp", *arguments, env=env, code=2)
    assert [error["name"] for error in document["errors"]] == [option]


async def test_without_a_key_it_names_the_setting(dsn: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(_SECRET)
    arguments = ["integrations", "set", "acme_corp", "auth_rbac", "--secret-file", f"token={secret}"]
    document = await _said(*arguments, env=environment(dsn), code=1)
    assert document["code"] == "secret_keys_missing"
    assert (await _said("secrets", "rotate", env=environment(dsn), code=1))["code"] == "secret_keys_missing"
    wrong = await _said("secrets", "rotate", env=environment(dsn, BF_SECRET_KEYS="hush-hush"), code=2)
    assert wrong["errors"][0]["name"] == "BF_SECRET_KEYS"
    wrong = await _said("integrations", "list", "acme_corp", env=environment(dsn, BF_INTEGRATION_ALLOW="a/8"), code=2)
    assert wrong["errors"][0]["name"] == "BF_INTEGRATION_ALLOW"


async def test_a_check_exits_with_1_where_nothing_answers(env: dict[str, str]) -> None:
    port = free_port()
    allowed = {**env, "BF_INTEGRATION_ALLOW": "127.0.0.1"}
    where = ["acme_corp", "notification_engine"]
    await _said("integrations", "set", *where, "--enabled", env=env)
    assert (await _said("integrations", "check", *where, env=env, code=1))["code"] == "integration_without_endpoint"
    await _said("integrations", "set", *where, "--endpoint", f"http://127.0.0.1:{port}", env=allowed)
    document = await _said("integrations", "check", *where, env=allowed, code=1)
    assert (document["ok"], document["error"]["code"]) == (False, "connection_failed")
    finished = await command("integrations", "check", *where, env=allowed)
    assert (finished.code, "No connection was made." in finished.stderr) == (1, True)
    refused = await _said("integrations", "check", *where, env=env, code=1)
    assert refused["error"]["code"] == "endpoint_not_allowed"


async def _rotated(env: dict[str, str], keys: str, code: int = 0) -> dict[str, Any]:
    return await _said("secrets", "rotate", env={**env, "BF_SECRET_KEYS": keys}, code=code)


async def test_rotation_leaves_secrets_and_their_age_as_they_are(
    env: dict[str, str], conn: asyncpg.Connection, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(_SECRET)
    arguments = ["integrations", "set", "acme_corp", "auth_rbac"]
    await _said(*arguments, "--secret-file", f"token={secret}", "--secret-file", f"api_key={secret}", env=env)
    before = await conn.fetch(_KEYS)
    assert await _rotated(env, f"{OTHER_KEY},{KEY}") == {"rotated": 2, "current": 0, "unreadable": []}
    after = await conn.fetch(_KEYS)
    assert [row["set_at"] for row in after] == [row["set_at"] for row in before]
    assert {row["key_id"] for row in after} & {row["key_id"] for row in before} == set()
    # The old key may go now; a second time there is nothing to do.
    assert await _rotated(env, OTHER_KEY) == {"rotated": 0, "current": 2, "unreadable": []}
    row = await conn.fetchrow("SELECT action, after FROM bf_control.audit ORDER BY id DESC LIMIT 1")
    assert (row["action"], json.loads(row["after"])["rotated"]) == ("secrets.rotate", 2)


async def test_rotation_says_what_no_key_opens_and_goes_on(
    env: dict[str, str], conn: asyncpg.Connection, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(_SECRET)
    for keys, name in ((KEY, "token"), (OTHER_KEY, "password"), (KEY, "api_key")):
        arguments = ["integrations", "set", "acme_corp", "auth_rbac", "--secret-file", f"{name}={secret}"]
        await _said(*arguments, env={**env, "BF_SECRET_KEYS": keys})
    await conn.execute(
        "UPDATE bf_control.integration_secret SET ciphertext = ciphertext || '\\x00'::bytea WHERE name = 'api_key'"
    )
    document = await _rotated(env, KEY, code=3)
    assert (document["rotated"], document["current"]) == (0, 1)
    why = {one["name"]: one["reason"] for one in document["unreadable"]}
    assert why.keys() == {"password", "api_key"}
    assert "not in BF_SECRET_KEYS" in why["password"]
    assert "altered" in why["api_key"]
    # Sent anew, it is readable again.
    await _said("integrations", "set", "acme_corp", "auth_rbac", "--secret-file", f"password={secret}", env=env)
    assert len((await _rotated(env, KEY, code=3))["unreadable"]) == 1


async def test_rotation_goes_over_many_tenants_in_batches(database: Database, conn: asyncpg.Connection) -> None:
    old, new = Keyring(parse_keys(KEY)), Keyring(parse_keys(f"{OTHER_KEY},{KEY}"))
    await make_tenant(conn, "other")
    for tenant_id in ("acme_corp", "other"):
        for number in range(230):
            sealed = old.seal(f"secret {number}", tenant_id, "auth_rbac", f"n{number}")
            await conn.execute(
                """INSERT INTO bf_control.integration_secret (tenant_id, capability, name, key_id, ciphertext, set_by)
                   VALUES ($1, 'auth_rbac', $2, $3, $4, 'tests')""",
                tenant_id, f"n{number}", sealed.key_id, sealed.ciphertext,
            )  # fmt: skip
    seen: list[tuple[int, int]] = []
    outcome = await rotate(
        database, new, origin=Origin(actor="tests"), progress=lambda done, total: seen.append((done, total))
    )
    assert (outcome.rotated, outcome.current, outcome.unreadable) == (460, 0, ())
    assert seen == [(200, 460), (400, 460), (460, 460)]
    assert await conn.fetchval("SELECT count(DISTINCT key_id) FROM bf_control.integration_secret") == 1


async def test_a_secret_is_no_argument(env: dict[str, str]) -> None:
    """What stands in a command line, every user of the machine can read."""
    finished: Finished = await bf_admin("integrations", "set", "--help", env=env)
    assert "--secret-file" in finished.stdout
    refused = await command(
        "integrations", "set", "acme_corp", "auth_rbac", "--secret-file", f"token={_SECRET}", env=env
    )
    assert refused.code == 2
