"""GET /v1/tenants/{id}/config/history: every version, whichever way it came."""

import asyncio
from typing import Any

import asyncpg
import pytest

from app.apikeys.model import Role
from app.config.model import DEFAULTS, differences
from tests.config.support import OTHER, PATH, get, patch, put, versions
from tests.schema.test_behaviour import GUIDE
from tests.support.api import Api
from tests.support.cluster import MIGRATION_USER
from tests.support.data import make_tenant
from tests.support.problems import problem


@pytest.fixture(autouse=True)
async def tenant(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)


async def test_the_making_of_the_tenant_is_the_first(idle_api: Api) -> None:
    [first] = await versions(idle_api)
    assert (first["version"], first["source"], first["by"]) == (1, "sql", MIGRATION_USER)
    assert first["documents"] == ["configuration", "features", "integrations", "limits", "tenant"]
    told = {item["pointer"]: item["after"] for item in first["difference"]}
    assert {f"/{name}": value for name, value in DEFAULTS.items()}.items() <= told.items()
    assert not [item for item in first["difference"] if "before" in item]


async def test_each_change_is_a_version_with_who_when_from_where_and_what(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    key = await idle_api.key(Role.OPERATOR)
    actor = f"key:{key.partition('.')[0].removeprefix('bfk_')}"
    idle_api.client.headers["Authorization"] = f"Bearer {key}"
    await patch(idle_api, {"budget_features": {"a/b": {"c": 1}, "d~": True}, "default_currency": "EUR"})
    await patch(idle_api, {"budget_features": {"a/b": {"c": None, "e": None}, "d~": 1}})
    await idle_api.client.patch("/v1/tenants/acme_corp", json={"tenant_name": "ACME Worldwide"})
    async with conn.transaction():
        await conn.execute("SELECT set_config('app.current_user_id', 'dba', true)")
        await conn.execute("SELECT set_config('bf.reason', 'ticket 42', true)")
        await conn.execute("UPDATE bf_shared.tenant_config SET max_budget_lines = 5, data_retention_days = 30")
    fifth, fourth, third, second, _ = await versions(idle_api)
    assert [v["version"] for v in (second, third, fourth, fifth)] == [2, 3, 4, 5]
    assert [v["source"] for v in (second, third, fourth, fifth)] == ["api", "api", "api", "sql"]
    assert [v["by"] for v in (second, third, fourth, fifth)] == [actor, actor, actor, "dba"]
    assert {v["database_user"] for v in (second, fifth)} == {MIGRATION_USER}
    assert (second["reason"], fifth["reason"], fifth["restored_version"]) == (None, "ticket 42", None)
    assert second["changed_at"] < third["changed_at"] < fifth["changed_at"]
    assert [v["documents"] for v in (third, fourth, fifth)] == [
        ["configuration"],
        ["tenant"],
        ["configuration", "limits"],
    ]
    assert second["difference"] == [
        {"pointer": "/budget_features/a~1b", "after": {"c": 1}},
        {"pointer": "/budget_features/d~0", "after": True},
        {"pointer": "/default_currency", "before": "USD", "after": "EUR"},
    ]
    assert third["difference"] == [
        {"pointer": "/budget_features/a~1b/c", "before": 1},
        {"pointer": "/budget_features/d~0", "before": True, "after": 1},
    ]
    assert fourth["difference"] == [
        {"pointer": "/tenant_name", "before": "ACME Corporation", "after": "ACME Worldwide"}
    ]
    assert fifth["difference"] == [
        {"pointer": "/data_retention_days", "before": 2555, "after": 30},
        {"pointer": "/max_budget_lines", "before": 100000, "after": 5},
    ]


@pytest.mark.parametrize("document", GUIDE)
async def test_the_guide_s_own_updates_appear(idle_api: Api, conn: asyncpg.Connection, document: str) -> None:
    whole = "/v1/tenants/acme_corp?view=full"
    for number, statement in enumerate(GUIDE[document], start=2):
        tag = (await get(idle_api, whole)).headers["etag"]
        await conn.execute(statement)
        newest = (await versions(idle_api))[0]
        assert (newest["version"], newest["source"], newest["by"]) == (number, "sql", MIGRATION_USER)
        assert newest["documents"] == [document]
        assert newest["difference"]
        assert (await get(idle_api, whole)).headers["etag"] != tag


async def test_it_comes_in_pages(idle_api: Api) -> None:
    for days in range(1, 8):
        await patch(idle_api, {"data_retention_days": days})
    found: list[int] = []
    token: str | None = None
    while True:
        params = {"page_size": "3", **({"page_token": token} if token else {})}
        page = (await idle_api.client.get(f"{PATH}/history", params=params)).json()
        found += [item["version"] for item in page["items"]]
        if len(found) == 3:
            await patch(idle_api, {"data_retention_days": 99})  # what is new comes first, and moves no page
        token = page.get("next_page_token")
        if token is None:
            break
    assert found == [8, 7, 6, 5, 4, 3, 2, 1]
    problem(await idle_api.client.get(f"{PATH}/history?page_size=-1"), 400, "invalid_page_size")


async def test_a_token_is_of_its_tenant_alone(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "other")
    await patch(idle_api, {"audit_level": "basic"})
    token = (await idle_api.client.get(f"{PATH}/history?page_size=1")).json()["next_page_token"]
    path = "/v1/tenants/other/config/history"
    for wrong in (token, token[:-2], "x", ""):
        problem(await idle_api.client.get(path, params={"page_token": wrong}), 400, "invalid_page_token")


async def test_it_is_the_tenant_s_own(idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection) -> None:
    """Neither another tenant's, nor that of an earlier one with the same id."""
    await make_tenant(conn, "other")
    await put(idle_api, OTHER)
    assert len(await versions(idle_api)) == 2
    assert len((await idle_api.client.get("/v1/tenants/other/config/history")).json()["items"]) == 1
    await superuser.execute("DELETE FROM bf_shared.tenant_config WHERE tenant_id = 'acme_corp'")
    await superuser.execute("DELETE FROM bf_control.tenant WHERE tenant_id = 'acme_corp'")
    await superuser.execute("DROP SCHEMA bf_acme_corp CASCADE")
    problem(await idle_api.client.get(f"{PATH}/history"), 404, "tenant_not_found")
    await make_tenant(conn)
    assert [version["version"] for version in await versions(idle_api)] == [1]
    await patch(idle_api, {"audit_level": "basic"})
    assert [version["version"] for version in await versions(idle_api)] == [2, 1]


async def test_before_there_is_a_schema_it_is_empty(idle_api: Api) -> None:
    await idle_api.client.put("/v1/tenants/to_be", json={"tenant_name": "T"})
    answer = await idle_api.client.get("/v1/tenants/to_be/config/history")
    assert (answer.status_code, answer.json()) == (200, {"items": []})


async def test_what_reads_as_a_credential_by_today_s_rule_is_not_told(
    idle_api: Api, superuser: asyncpg.Connection, conn: asyncpg.Connection
) -> None:
    """Stored under a rule that was less strict."""
    await superuser.execute("ALTER TABLE bf_shared.tenant_config DISABLE TRIGGER tenant_config_check")
    await superuser.execute("""UPDATE bf_shared.tenant_config SET external_systems = '{"erp": {"password": "hush"}}'""")
    await superuser.execute("UPDATE bf_shared.tenant_config SET external_systems = '{}', audit_level = 'basic'")
    await superuser.execute("ALTER TABLE bf_shared.tenant_config ENABLE TRIGGER tenant_config_check")
    third, second, _ = await versions(idle_api)
    assert second["difference"] == [{"pointer": "/external_systems", "before": {}, "after": "(credentials)"}]
    assert third["difference"][1] == {"pointer": "/external_systems", "before": "(credentials)", "after": {}}


async def test_changes_at_once_have_versions_of_their_own(idle_api: Api, conn: asyncpg.Connection) -> None:
    await asyncio.gather(
        *(patch(idle_api, {"data_retention_days": days}) for days in range(1, 9)),
        conn.execute("UPDATE bf_shared.tenant_config SET max_budget_lines = 1"),
    )
    found = [version["version"] for version in await versions(idle_api)]
    assert found == list(range(10, 0, -1))


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1.0}, [("/a", (1,), (1.0,))]),
        ({"a": True}, {"a": 1}, [("/a", (True,), (1,))]),
        ({"a": None}, {}, [("/a", (None,), ())]),
        ({}, {"a": None}, [("/a", (), (None,))]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3, "b": 1}}, [("/a/c", (2,), (3,))]),
        ({"a": {"b": 1}}, {"a": [{"b": 1}]}, [("/a", ({"b": 1},), ([{"b": 1}],))]),
        ({"a": [1, {"b": 1}]}, {"a": [1, {"b": 2}]}, [("/a", ([1, {"b": 1}],), ([1, {"b": 2}],))]),
        ({"": {"~/": 1}}, {"": {"~/": 2}}, [("//~0~1", (1,), (2,))]),
    ],
)
def test_a_difference_names_the_smallest_thing_that_differs(before: Any, after: Any, wanted: Any) -> None:
    assert [(d.pointer, d.before, d.after) for d in differences(before, after)] == wanted
