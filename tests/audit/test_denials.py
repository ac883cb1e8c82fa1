"""Refused requests: each caller's first at once, the rest as a number, and a flood of them bounded."""

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from app.audit.denials import MOST, Denials
from app.db.pool import Database
from app.http.denials import Denial
from tests.support.api import Api
from tests.support.data import make_tenant
from tests.support.polling import until

_DENIED = "SELECT * FROM bf_control.audit WHERE outcome = 'denied' ORDER BY id"


async def _rows(conn: asyncpg.Connection) -> list[dict[str, Any]]:
    return [{**row, "after": json.loads(row["after"])} for row in await conn.fetch(_DENIED)]


def _denial(number: int = 0, **others: Any) -> Denial:
    said = {
        "actor": f"key:{number}", "role": "viewer", "source_address": "192.0.2.1", "request_id": f"r{number}",
        "method": "POST", "route": "/v1/tenants", "tenant_id": None, "status": 403, "code": "forbidden",
    }  # fmt: skip
    return Denial(**{**said, **others})


@pytest.fixture
async def denials(database: Database) -> AsyncIterator[Denials]:
    made = Denials(database, window=3600, soon=3600)
    made.start()
    yield made
    await made.stop()


async def test_a_refused_call_leaves_who_where_from_which_and_what(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    key = await idle_api.key(Role.VIEWER)
    transport = httpx.ASGITransport(idle_api.app, client=("192.0.2.7", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as caller:
        headers = {"X-API-Key": key, "X-Request-ID": "mine"}
        assert (await caller.post("/v1/tenants/acme_corp/suspend", headers=headers)).status_code == 403
        assert (await caller.get("/v1/tenants/acme_corp", headers={"X-API-Key": "bfk_x.SECRET"})).status_code == 401
    await idle_api.services.denials.flush()
    refused, unknown = await _rows(conn)
    assert (refused["actor"], refused["role"]) == (f"key:{key[4:20]}", "viewer")
    assert (refused["source_address"], refused["request_id"]) == ("192.0.2.7", "mine")
    assert refused["action"] == "request.deny"
    assert refused["target"] == "route/POST /v1/tenants/{tenant_id}/suspend"
    assert (refused["after"]["status"], refused["after"]["code"]) == (403, "forbidden")
    assert (refused["after"]["count"], refused["after"]["tenant_id"]) == (1, "acme_corp")
    assert (unknown["actor"], unknown["role"], unknown["after"]["status"]) == ("anonymous", None, 401)
    assert "SECRET" not in json.dumps(unknown, default=str)


async def test_what_goes_well_is_no_denial(idle_api: Api, conn: asyncpg.Connection) -> None:
    assert (await idle_api.client.get("/v1/tenants")).status_code == 200
    assert (await idle_api.client.get("/v1/tenants/nobody")).status_code == 404
    await idle_api.services.denials.flush()
    assert await _rows(conn) == []


async def test_a_thousand_of_one_caller_are_two_rows(denials: Denials, conn: asyncpg.Connection) -> None:
    denials.note(_denial())
    await denials.flush()
    for number in range(999):
        denials.note(_denial(request_id=f"r{number}"))
    await denials.flush()
    assert len(await _rows(conn)) == 1
    denials._window = 0  # it is over
    await denials.flush()
    assert [row["after"]["count"] for row in await _rows(conn)] == [1, 999]
    assert denials._entries == {}
    await denials.flush()
    assert len(await _rows(conn)) == 2


async def test_a_window_that_was_quiet_is_forgotten_and_the_next_call_is_told_at_once(
    denials: Denials, conn: asyncpg.Connection
) -> None:
    denials._soon = 0.01
    for number in range(2):
        denials.note(_denial(request_id=f"r{number}"))
        await until(partial(_counted, conn, number + 1))
        denials._window = 0
        await until(partial(_forgotten, denials))


async def _counted(conn: asyncpg.Connection, wanted: int) -> bool:
    return len(await _rows(conn)) == wanted


async def _forgotten(denials: Denials) -> bool:
    return denials._entries == {}


async def test_a_flood_of_callers_is_bounded_and_counted(denials: Denials, conn: asyncpg.Connection) -> None:
    for number in range(20_000):
        denials.note(_denial(number))
    await denials.stop()
    rows = await _rows(conn)
    assert len(rows) == MOST + 1
    assert sum(row["after"]["count"] for row in rows) == 20_000
    assert (rows[-1]["actor"], rows[-1]["after"]["code"]) == ("service:audit", "too_many_denials")
    assert rows[-1]["target"] == "route"


async def test_without_a_database_they_are_kept_and_counted(
    denials: Denials, conn: asyncpg.Connection, superuser: asyncpg.Connection, database: Database
) -> None:
    pool, database._pool = database._pool, None
    for _ in range(5):
        denials.note(_denial())
        await denials.flush()
    database._pool = pool
    await denials.flush()
    assert sum(row["after"]["count"] for row in await _rows(conn)) == 5


async def test_what_is_left_is_written_at_the_end(denials: Denials, conn: asyncpg.Connection) -> None:
    denials.note(_denial())
    await denials.stop()
    assert len(await _rows(conn)) == 1
