"""Credentials: encrypted, write-only, and found nowhere in plain."""

import asyncio
import base64
import json
import subprocess
from pathlib import Path

import asyncpg
import pytest

from app.keyring import CannotDecrypt, Keyring, Sealed, parse_keys
from app.settings import Settings
from tests.integrations.support import ENDPOINT, KEY, OTHER_KEY, PATH, get, put
from tests.support.api import Api, running_api
from tests.support.cluster import Cluster, client_program
from tests.support.data import make_tenant, settings_for
from tests.support.problems import problem

_SECRET = "plAnted-s3cret-0f-these-tests"
_ROWS = "SELECT capability, name, key_id, set_by FROM bf_control.integration_secret ORDER BY 1, 2"
_KEYRING = Keyring(parse_keys(KEY))


async def _opened(conn: asyncpg.Connection, tenant_id: str = "acme_corp") -> dict[str, str]:
    rows = await conn.fetch("SELECT * FROM bf_control.integration_secret WHERE tenant_id = $1", tenant_id)
    return {
        row["name"]: _KEYRING.open(
            Sealed(key_id=row["key_id"], ciphertext=row["ciphertext"]), tenant_id, row["capability"], row["name"]
        )
        for row in rows
    }


@pytest.mark.usefixtures("tenant")
async def test_a_credential_is_shown_as_set_or_not_and_since_when(idle_api: Api, conn: asyncpg.Connection) -> None:
    body = {"endpoint": ENDPOINT, "credentials": {"client_id": "me", "client_secret": _SECRET}}
    made = await put(idle_api, "auth_rbac", body)
    assert made.status_code == 201
    shown = made.json()["credentials"]
    assert {name for name, one in shown.items() if one["set"]} == {"client_id", "client_secret"}
    assert shown["password"] == {"set": False, "set_at": None, "set_by": None}
    assert shown["client_secret"]["set_by"].startswith("key:")
    assert await _opened(conn) == {"client_id": "me", "client_secret": _SECRET}
    first = shown["client_secret"]["set_at"]
    # Left out they stay, and so does their age; named, they are replaced; by null, they go.
    kept = await put(idle_api, "auth_rbac", {"endpoint": ENDPOINT, "realm": "x"})
    assert kept.json()["credentials"] == shown
    etag = kept.headers["etag"]
    change = {"client_id": None, "client_secret": "another", "token": "new"}
    changed = await put(idle_api, "auth_rbac", {"endpoint": ENDPOINT, "realm": "x", "credentials": change})
    assert changed.headers["etag"] != etag
    assert changed.json()["credentials"]["client_secret"]["set_at"] > first
    assert await _opened(conn) == {"client_secret": "another", "token": "new"}
    stored = json.loads(await conn.fetchval("SELECT apg_integrations FROM bf_shared.tenant_config"))
    assert stored == {"auth_rbac": {"endpoint": ENDPOINT, "realm": "x"}}
    row = json.loads(await conn.fetchval("SELECT after FROM bf_control.audit ORDER BY id DESC LIMIT 1"))
    assert (row["credentials_set"], row["credentials_removed"]) == (["client_secret", "token"], ["client_id"])


@pytest.mark.usefixtures("tenant")
async def test_what_is_taken_away_takes_its_secrets_along(idle_api: Api, conn: asyncpg.Connection) -> None:
    async def secrets_of(*capabilities: str) -> None:
        for capability in capabilities:
            assert (await put(idle_api, capability, {"credentials": {"token": "t"}})).status_code in {200, 201}

    await secrets_of("auth_rbac", "notification_engine", "document_management")
    await idle_api.client.delete(f"{PATH}/auth_rbac")
    assert [row["capability"] for row in await conn.fetch(_ROWS)] == ["document_management", "notification_engine"]
    await conn.execute("UPDATE bf_shared.tenant_config SET apg_integrations = apg_integrations - 'document_management'")
    assert [row["capability"] for row in await conn.fetch(_ROWS)] == ["notification_engine"]
    await conn.execute("DELETE FROM bf_shared.tenant_config")
    assert await conn.fetch(_ROWS) == []


async def test_secrets_go_with_their_tenant(idle_api: Api, conn: asyncpg.Connection) -> None:
    body = {"integrations": {"auth_rbac": {"credentials": {"token": _SECRET}}}}
    assert (await idle_api.provision(**body)).status_code == 202
    assert len(await conn.fetch(_ROWS)) == 1
    await conn.execute("DELETE FROM bf_control.tenant")
    assert await conn.fetch(_ROWS) == []


@pytest.mark.usefixtures("tenant")
async def test_without_a_key_nothing_secret_is_taken_and_all_else_works(
    keyless_api: Api, conn: asyncpg.Connection
) -> None:
    body = {"endpoint": ENDPOINT, "credentials": {"token": _SECRET}}
    refused = problem(await put(keyless_api, "auth_rbac", body), 409, "secret_keys_missing")
    assert "BF_SECRET_KEYS" in refused["detail"]
    creation = {"tenant_id": "other", "tenant_name": "O", "integrations": {"auth_rbac": body}}
    problem(await keyless_api.client.post("/v1/tenants", json=creation), 409, "secret_keys_missing")
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == 1
    assert (await put(keyless_api, "auth_rbac", {"endpoint": ENDPOINT})).status_code == 201
    assert (await put(keyless_api, "auth_rbac", {"realm": "x", "credentials": {"token": None}})).status_code == 200
    assert (await keyless_api.client.get(PATH)).status_code == 200


@pytest.mark.usefixtures("tenant")
async def test_a_row_moved_to_another_place_opens_nothing(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "other")
    await put(idle_api, "auth_rbac", {"credentials": {"token": _SECRET}})
    row = await conn.fetchrow("SELECT key_id, ciphertext FROM bf_control.integration_secret")
    sealed = Sealed(**dict(row))
    assert _KEYRING.open(sealed, "acme_corp", "auth_rbac", "token") == _SECRET
    for place in (
        ("other", "auth_rbac", "token"),
        ("acme_corp", "notification_engine", "token"),
        ("acme_corp", "auth_rbac", "password"),
        ("acme_cor", "pauth_rbac", "token"),
    ):
        with pytest.raises(CannotDecrypt, match="altered, or belongs elsewhere"):
            _KEYRING.open(sealed, *place)
    altered = Sealed(key_id=sealed.key_id, ciphertext=sealed.ciphertext[:-1] + bytes([sealed.ciphertext[-1] ^ 1]))
    with pytest.raises(CannotDecrypt):
        _KEYRING.open(altered, "acme_corp", "auth_rbac", "token")
    with pytest.raises(CannotDecrypt, match=r"not in BF_SECRET_KEYS"):
        Keyring(parse_keys(OTHER_KEY)).open(sealed, "acme_corp", "auth_rbac", "token")
    again = _KEYRING.seal(_SECRET, "acme_corp", "auth_rbac", "token")
    assert again.ciphertext != sealed.ciphertext


async def test_a_planted_secret_is_in_no_table_and_no_log(
    settings: Settings, conn: asyncpg.Connection, cluster: Cluster, capfd: pytest.CaptureFixture[str]
) -> None:
    """Sent by every way there is, with what goes wrong on them; at the level that logs most."""
    credentials = {"client_secret": _SECRET, "private_key": f"-----BEGIN\n{_SECRET}\n"}
    document = {"endpoint": ENDPOINT, "credentials": credentials}
    loud = settings.model_copy(update={"log_level": "DEBUG"})
    async with running_api(loud, with_worker=True) as api:
        answers = [await api.provision(integrations={"auth_rbac": document})]
        assert answers[0].status_code == 201, answers[0].text
        path = "/v1/tenants/by_put"
        body = {"tenant_name": "P", "integrations": {"auth_rbac": document}}
        answers += [await api.client.put(path, json=body, headers={"Prefer": "wait=20"})]
        answers += [await api.client.get(path, params={"view": "full"})]
        answers += [await put(api, "auth_rbac", {**document, "credentials": {"token": _SECRET}})]
        answers += [await put(api, "notification_engine", document)]
        for wrong in (
            {**document, "enabled": "x"},
            {**document, "endpoint": "http://10.0.0.1"},
            {**document, "endpoint": f"https://me:{_SECRET}@auth.example.com"},
            {**document, "endpoint": f"https://auth.example.com?token={_SECRET}"},
            {"api_key": _SECRET},
            {"credentials": _SECRET},
            {"credentials": [_SECRET]},
            {"credentials": {"token": [_SECRET]}},
            {"credentials": {"token": {"x": _SECRET}}},
        ):
            answer = await put(api, "ai_orchestration", wrong)
            problem(answer, 422, "validation_failed")
            bad = {"tenant_id": "bad", "tenant_name": "B", "integrations": {"ai_orchestration": wrong}}
            problem(refused := await api.client.post("/v1/tenants", json=bad), 422, "validation_failed")
            answers += [answer, refused]
        answers += [await api.client.get(PATH), await api.client.get("/v1/operations")]
    for answer in answers:
        assert _SECRET not in answer.text, answer.text
        assert _SECRET not in str(answer.headers)
    assert await _opened(conn) != {}
    name = await conn.fetchval("SELECT current_database()")
    dump = [str(client_program("pg_dump")), "--dbname", cluster.superuser_dsn(name), "--inserts"]
    finished = await asyncio.to_thread(subprocess.run, dump, capture_output=True, check=True)
    assert b"integration_secret" in finished.stdout
    for encoded in (_SECRET, _SECRET.encode().hex()):
        assert encoded.encode() not in finished.stdout
    logged = capfd.readouterr()
    assert _SECRET not in logged.out + logged.err


async def test_a_tenant_is_created_with_its_secrets(api: Api, conn: asyncpg.Connection) -> None:
    document = {"endpoint": ENDPOINT, "credentials": {"client_secret": _SECRET, "token": None}}
    assert (await api.provision(integrations={"auth_rbac": document})).status_code == 201
    shown = await get(api, "auth_rbac")
    assert [name for name, one in shown["credentials"].items() if one["set"]] == ["client_secret"]
    assert await _opened(conn) == {"client_secret": _SECRET}
    assert shown["endpoint"] == ENDPOINT


async def test_the_same_creation_is_known_by_its_secrets_too(idle_api: Api, conn: asyncpg.Connection) -> None:
    def body(secret: str) -> dict[str, object]:
        return {"tenant_name": "A", "integrations": {"auth_rbac": {"credentials": {"token": secret}}}}

    path = "/v1/tenants/acme_corp"
    assert (await idle_api.client.put(path, json=body(_SECRET))).status_code == 202
    assert (await idle_api.client.put(path, json=body(_SECRET))).status_code == 202
    problem(await idle_api.client.put(path, json=body("another")), 409, "tenant_request_differs")
    problem(await idle_api.client.put(path, json={"tenant_name": "A"}), 409, "tenant_request_differs")
    stored = json.loads(await conn.fetchval("SELECT request FROM bf_control.tenant"))
    assert stored["integrations"]["auth_rbac"]["credentials"]["token"].startswith("hmac-sha256:")
    await conn.execute("UPDATE bf_control.tenant SET state = 'failed'")
    problem(
        await idle_api.client.post("/v1/tenants", json={**body("another"), "tenant_id": "acme_corp"}),
        409,
        "tenant_request_differs",
    )
    again = await idle_api.client.post("/v1/tenants", json={**body(_SECRET), "tenant_id": "acme_corp"})
    assert again.status_code == 202, again.text


async def test_the_same_creation_is_known_under_an_older_key(idle_api: Api, dsn: str, tmp_path: Path) -> None:
    body = {
        "tenant_name": "A",
        "integrations": {"auth_rbac": {"credentials": {"token": _SECRET}}, "document_management": {}},
    }
    path = "/v1/tenants/acme_corp"
    assert (await idle_api.client.put(path, json=body)).status_code == 202
    rotated = settings_for(dsn, bootstrap_admin_key_file=tmp_path / "admin-key", secret_keys=f"{OTHER_KEY},{KEY}")
    async with running_api(rotated, with_worker=False) as later:
        assert (await later.client.put(path, json=body)).status_code == 202
        body["integrations"] = {"auth_rbac": {"credentials": {"token": "another"}}, "document_management": {}}
        problem(await later.client.put(path, json=body), 409, "tenant_request_differs")


async def test_an_idempotency_key_tells_secrets_apart(idle_api: Api) -> None:
    def body(secret: str) -> dict[str, object]:
        integrations = {"auth_rbac": {"credentials": {"token": secret}}}
        return {"tenant_id": "acme_corp", "tenant_name": "A", "integrations": integrations}

    headers = {"Idempotency-Key": "k"}
    first = await idle_api.client.post("/v1/tenants", json=body(_SECRET), headers=headers)
    again = await idle_api.client.post("/v1/tenants", json=body(_SECRET), headers=headers)
    assert (again.status_code, again.headers.get("idempotent-replayed")) == (first.status_code, "true")
    other = await idle_api.client.post("/v1/tenants", json=body("another"), headers=headers)
    problem(other, 422, "idempotency_key_reused")


async def test_the_application_role_reads_no_secret(superuser: asyncpg.Connection) -> None:
    for role in ("app_role", "audit_role"):
        async with superuser.transaction():
            await superuser.execute(f"SET LOCAL ROLE {role}")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with superuser.transaction():
                    await superuser.fetch(_ROWS)


@pytest.mark.parametrize("text", ["x", "a" * 44, KEY[:-4], f"{KEY},{KEY}", f"{KEY},nonsense", "k" * 32])
def test_a_wrong_key_is_told_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"base64|twice") as raised:
        parse_keys(text)
    assert text not in str(raised.value)
    assert KEY not in str(raised.value)


def test_keys_may_be_written_in_either_alphabet_and_apart_by_lines() -> None:
    key = b"\xfb\xef\xff" * 10 + b"ab"
    for encoded in (base64.b64encode(key), base64.urlsafe_b64encode(key), base64.urlsafe_b64encode(key).rstrip(b"=")):
        assert parse_keys(encoded.decode()) == (key,)
    assert parse_keys(f"\n{KEY}\n{OTHER_KEY}\n") == (b"k" * 32, b"o" * 32)
    assert parse_keys("") == ()
