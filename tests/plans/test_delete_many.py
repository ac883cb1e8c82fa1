"""DELETE /v1/tenants over a filter: a plan first, then each by itself, and nobody else."""

from typing import Any

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from app.settings import Settings
from tests.support.api import Api, running_api
from tests.support.data import make_tenant, schemas
from tests.support.polling import ended
from tests.support.problems import problem
from tests.support.processes import bf_admin, environment

_PATH = "/v1/tenants"
_STATES = "SELECT tenant_id, state FROM bf_control.tenant ORDER BY tenant_id"


@pytest.fixture
async def four(conn: asyncpg.Connection) -> dict[str, str]:
    """Two that a search for `old` finds, one more that is purging, and one that it does not."""
    for tenant_id in ("old_a", "old_b", "old_c", "new_a"):
        await make_tenant(conn, tenant_id, f"Firm {tenant_id}")
    await conn.execute("UPDATE bf_control.tenant SET state = 'purging' WHERE tenant_id = 'old_c'")
    return dict(await conn.fetch(_STATES))


async def _delete(client: httpx.AsyncClient, headers: Any = None, **params: Any) -> httpx.Response:
    return await client.delete(_PATH, params={"q": "old", **params}, headers=headers)


async def test_who_fits_is_planned_then_deleted_and_nobody_else(
    api: Api, conn: asyncpg.Connection, four: dict[str, str]
) -> None:
    before = await schemas(conn)
    plan = (await _delete(api.client)).json()
    assert (plan["tenants"], [item["tenant_id"] for item in plan["items"]]) == (2, ["old_a", "old_b"])
    assert (plan["skipped"], plan["tables"], plan["rows_are"]) == (["old_c"], 12, "estimated")
    assert dict(await conn.fetch(_STATES)) == four
    done = await _delete(api.client, {"Prefer": "wait=20"}, confirmation=plan["confirmation"], reason="contract over")
    assert done.status_code == 200, done.text
    operation = done.json()
    assert (operation["kind"], operation["status"]) == ("tenants.delete", "succeeded")
    assert operation["result"] == {"deleted": 2, "unchanged": 0, "refused": 0}
    assert dict(await conn.fetch(_STATES)) == four | {"old_a": "deleted", "old_b": "deleted"}
    assert await schemas(conn) == before, "they are kept until their purge_time"
    gone = (await api.client.get("/v1/tenants/old_a")).json()
    assert gone["purge_time"] is not None
    audited = await conn.fetch("SELECT target, outcome FROM bf_control.audit WHERE action ~ 'delete' ORDER BY id")
    assert [tuple(row) for row in audited] == [
        ("tenants", "accepted"), ("tenant/old_a", "succeeded"), ("tenant/old_b", "succeeded"), ("tenants", "succeeded"),
    ]  # fmt: skip
    targets = (await api.client.get(done.headers["location"])).json()["items"]
    assert [(one["tenant_id"], one["status"]) for one in targets] == [("old_a", "changed"), ("old_b", "changed")]
    problem(await _delete(api.client, confirmation=plan["confirmation"]), 409, "confirmation_invalid")


async def test_without_a_confirmation_that_holds_nobody_is_deleted(
    idle_api: Api, conn: asyncpg.Connection, four: dict[str, str]
) -> None:
    client = idle_api.client
    token = (await _delete(client)).json()["confirmation"]
    for wrong in ("x", token[:-1], token.swapcase(), "\0", "é"):
        problem(await _delete(client, confirmation=wrong), 409, "confirmation_invalid")
    problem(await _delete(client, confirmation=""), 422, "validation_failed")
    another = {"Authorization": f"Bearer {await idle_api.key(Role.ADMIN)}"}
    problem(await _delete(client, another, confirmation=token), 409, "confirmation_invalid")
    problem(await _delete(client, confirmation=token, q="new"), 409, "confirmation_invalid")
    problem(await client.delete(_PATH, params={"all": "true", "confirmation": token}), 409, "confirmation_invalid")
    problem(await client.delete(_PATH), 422, "validation_failed")
    await conn.execute("UPDATE bf_control.tenant SET generation = 7 WHERE tenant_id = 'old_b'")
    problem(await _delete(client, confirmation=token), 409, "confirmation_invalid")
    await conn.execute("UPDATE bf_control.tenant SET generation = 1 WHERE tenant_id = 'old_b'")
    await make_tenant(conn, "old_d")
    problem(await _delete(client, confirmation=token), 409, "confirmation_invalid")
    preview = (await _delete(client, validate_only="true")).json()
    assert (preview["tenants"], preview["confirmation"]) == (3, None)
    assert await conn.fetchval("SELECT count(*) FROM bf_control.operation") == 0
    assert dict(await conn.fetch(_STATES)) == four | {"old_d": "active"}


async def test_the_id_of_another_tenant_by_then_is_refused(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection, four: dict[str, str]
) -> None:
    """Between the acceptance and its turn the tenant was purged, and somebody else has the id."""
    token = (await _delete(idle_api.client)).json()["confirmation"]
    accepted = await _delete(idle_api.client, confirmation=token)
    assert accepted.status_code == 202
    await conn.execute("UPDATE bf_control.tenant SET generation = 2 WHERE tenant_id = 'old_a'")
    await conn.execute("SELECT bf_shared.delete_tenant('old_b', 'by hand')")
    async with running_api(settings, with_worker=True):
        operation = await ended(idle_api.client, accepted.headers["operation-location"])
    assert operation["result"] == {"deleted": 0, "unchanged": 1, "refused": 1}
    assert dict(await conn.fetch(_STATES)) == four | {"old_b": "deleted"}
    problem(
        await idle_api.client.post(f"{accepted.headers['operation-location']}/retry"), 409, "operation_not_retryable"
    )


async def test_the_command_line_says_who_asks_and_deletes(
    dsn: str, conn: asyncpg.Connection, four: dict[str, str]
) -> None:
    env = environment(dsn)
    refused = await bf_admin("tenant", "delete-many", "--search", "old", env=env)
    assert (refused.code, "--yes" in refused.stderr) == (2, True)
    assert (await bf_admin("tenant", "delete-many", "--yes", env=env)).code == 2
    assert dict(await conn.fetch(_STATES)) == four
    done = await bf_admin("tenant", "delete-many", "--search", "old", "--yes", env=env)
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["  old_a", "  old_b"]
    assert done.stdout.splitlines()[-1] == "Deleted 2, unchanged 0, refused 0."
    assert dict(await conn.fetch(_STATES)) == four | {"old_a": "deleted", "old_b": "deleted"}
