"""What is changed in SQL is in the trail, without credentials, and what the API changes is there once."""

import json

import asyncpg

from tests.support.api import Api
from tests.support.data import make_tenant, suspend

_ROWS = "SELECT actor, action, target, outcome, before, after FROM bf_control.audit WHERE id > $1 ORDER BY id"
_LAST = "SELECT coalesce(max(id), 0) FROM bf_control.audit"


async def _since(conn: asyncpg.Connection, last: int) -> list[dict[str, object]]:
    rows = [dict(row) for row in await conn.fetch(_ROWS, last)]
    for row in rows:
        row["before"], row["after"] = (None if row[n] is None else json.loads(row[n]) for n in ("before", "after"))
    return rows


async def test_a_tenant_that_psql_makes_and_changes(conn: asyncpg.Connection) -> None:
    last = await conn.fetchval(_LAST)
    await make_tenant(conn)
    (made,) = await _since(conn, last)
    assert (made["actor"], made["action"], made["target"]) == ("tests", "tenant.create", "tenant/acme_corp")
    assert made["after"] == {"tenant_name": "ACME Corporation", "subscription_tier": "standard"}
    last = await conn.fetchval(_LAST)
    async with conn.transaction():
        await conn.execute("SET LOCAL app.current_user_id = 'alice'")
        await conn.execute("UPDATE bf_shared.tenant_config SET default_currency = 'EUR', time_zone = 'Europe/Paris'")
    await conn.execute("UPDATE bf_shared.tenant_config SET default_currency = 'EUR'")
    (changed,) = await _since(conn, last)
    assert (changed["actor"], changed["action"]) == ("alice", "tenant.change")
    assert changed["before"] == {"default_currency": "USD", "time_zone": "UTC"}
    assert changed["after"] == {"default_currency": "EUR", "time_zone": "Europe/Paris"}


async def test_a_suspension_in_sql_is_one_row(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    last = await conn.fetchval(_LAST)
    await suspend(conn)
    assert [row["action"] for row in await _since(conn, last)] == ["tenant.suspend"]


async def test_a_rolled_back_change_leaves_nothing(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    last = await conn.fetchval(_LAST)
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute("UPDATE bf_shared.tenant_config SET default_currency = 'EUR'")
    await transaction.rollback()
    assert await _since(conn, last) == []


async def test_credentials_that_were_stored_by_an_earlier_release_are_masked(
    conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    last = await conn.fetchval(_LAST)
    await superuser.execute(
        """INSERT INTO bf_control.tenant_config_history (tenant_id, database_user, source, documents, before, after)
           VALUES ('acme_corp', 'x', 'sql', '{configuration}',
                   '{"external_systems": {"erp": {"password": "hunter2"}}}',
                   '{"external_systems": {"erp": {"password": "hunter3"}}}')"""
    )
    (row,) = await _since(conn, last)
    assert "hunter" not in json.dumps(row)
    assert row["after"] == {"external_systems": "(credentials)"}


async def test_what_the_api_changes_is_there_once(api: Api, conn: asyncpg.Connection) -> None:
    assert (await api.provision()).status_code == 201
    base = "/v1/tenants/acme_corp"
    for method, path, body, action in (
        ("PATCH", base, {"tenant_name": "Other"}, "tenant.change"),
        ("PATCH", f"{base}/config", {"default_currency": "EUR"}, "tenant.configure"),
        ("PUT", f"{base}/features/ai_insights", {"enabled": True}, "tenant.change_feature"),
        ("PATCH", f"{base}/limits", {"max_budgets": 5}, "tenant.limits.change"),
        ("POST", f"{base}/suspend", {"reason": "unpaid"}, "tenant.suspend"),
        ("POST", f"{base}/resume", None, "tenant.resume"),
    ):
        last = await conn.fetchval(_LAST)
        answer = await api.client.request(method, path, json=body)
        assert answer.status_code == 200, answer.text
        (row,) = await _since(conn, last)
        assert row["action"] == action
        assert row["before"] is not None, action
        last = await conn.fetchval(_LAST)
        await api.client.request(method, path, json=body)
        assert await _since(conn, last) == [] or method == "POST", path
