"""The release before writes no events itself and knows no cancellation: the database does it for its processes."""

from typing import Any
from uuid import UUID

import asyncpg
import httpx

from app.settings import Settings
from tests.support import oracle
from tests.support.api import Api
from tests.support.events import all_of

# The statements of the release before, word for word but for what they return.
_INSERT = """
INSERT INTO bf_control.operation (id, kind, tenant_id, parameters, actor, request_id, traceparent)
VALUES (gen_random_uuid(), 'schema.upgrade', NULL, '{}', 'tests', NULL, NULL) RETURNING id
"""
_CLAIM = """
UPDATE bf_control.operation
   SET status = 'running', claim_token = gen_random_uuid(), attempts = attempts + 1,
       started_at = coalesce(started_at, clock_timestamp())
  FROM (SELECT set_config('synchronous_commit', 'off', true)) AS no_wait
 WHERE id = $1 AND status IN ('queued', 'running') AND kind = ANY ($2::text[])
RETURNING claim_token
"""
_FINISH = """
UPDATE bf_control.operation
   SET status = $3, result = $4, error = $5, steps = $6, finished_at = clock_timestamp(), claim_token = NULL
 WHERE id = $1 AND claim_token = $2 AND status = 'running'
RETURNING id
"""
_RELEASE = """
UPDATE bf_control.operation SET status = 'queued', claim_token = NULL
 WHERE id = $1 AND claim_token = $2 AND status = 'running'
RETURNING id
"""
_KINDS = ["schema.upgrade", "tenant.provision"]
_STEPS = (
    '[{"name": "upgrade", "status": "succeeded", "started_at": "2025-01-01T00:00:00.000001+00:00", "duration_ms": 1}]'
)


async def _claim(conn: asyncpg.Connection, operation_id: UUID) -> UUID | None:
    token: UUID | None = await conn.fetchval(_CLAIM, operation_id, _KINDS)
    return token


async def _read(client: httpx.AsyncClient, operation_id: UUID) -> dict[str, Any]:
    body: dict[str, Any] = (await client.get(f"/v1/operations/{operation_id}")).json()
    return body


async def test_what_the_release_before_does_is_seen_event_by_event(
    idle_api: Api, conn: asyncpg.Connection, settings: Settings
) -> None:
    operation_id = await conn.fetchval(_INSERT)
    seen = [await _read(idle_api.client, operation_id)]
    released = await _claim(conn, operation_id)
    seen.append(await _read(idle_api.client, operation_id))
    assert await conn.fetchval(_RELEASE, operation_id, released)
    seen.append(await _read(idle_api.client, operation_id))
    stale, current = await _claim(conn, operation_id), None
    seen.append(await _read(idle_api.client, operation_id))
    current = await _claim(conn, operation_id)
    seen.append(await _read(idle_api.client, operation_id))
    assert await conn.fetchval(_FINISH, operation_id, stale, "failed", None, '{"by": "stale"}', "[]") is None
    assert await conn.fetchval(_FINISH, operation_id, current, "succeeded", '{"applied": []}', None, _STEPS)
    seen.append(await _read(idle_api.client, operation_id))

    events = await all_of(idle_api.client, f"/v1/operations/{operation_id}")
    assert [event.name for event in events] == ["queued", "running", "queued", "running", "running", "succeeded"]
    assert [event.id for event in events] == [1, 2, 3, 4, 5, 6]
    assert [event.data for event in events] == seen
    await oracle.assert_clean(settings.direct_dsn())


async def test_the_release_before_takes_up_nothing_that_was_cancelled(
    idle_api: Api, conn: asyncpg.Connection, settings: Settings
) -> None:
    operation_id = await conn.fetchval(_INSERT)
    assert (await idle_api.client.post(f"/v1/operations/{operation_id}/cancel")).json()["status"] == "cancelled"
    assert await _claim(conn, operation_id) is None
    assert [event.name for event in await all_of(idle_api.client, f"/v1/operations/{operation_id}")] == [
        "queued",
        "cancelled",
    ]
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_cancellation_that_the_release_before_does_not_hear_is_overtaken_by_the_end(
    idle_api: Api, conn: asyncpg.Connection, settings: Settings
) -> None:
    operation_id = await conn.fetchval(_INSERT)
    token = await _claim(conn, operation_id)
    assert (await idle_api.client.post(f"/v1/operations/{operation_id}/cancel")).status_code == 202
    assert await conn.fetchval(_FINISH, operation_id, token, "succeeded", "{}", None, _STEPS)
    done = await _read(idle_api.client, operation_id)
    assert (done["status"], done["cancel_requested"]) == ("succeeded", True)
    await oracle.assert_clean(settings.direct_dsn())


async def test_an_operation_from_before_there_were_events_has_none_to_show(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    """It ended, and then the migration came: nothing is to be followed."""
    operation_id = await conn.fetchval(_INSERT)
    token = await _claim(conn, operation_id)
    await conn.fetchval(_FINISH, operation_id, token, "succeeded", "{}", None, _STEPS)
    await conn.execute("DELETE FROM bf_control.operation_event")
    response = await idle_api.client.get(f"/v1/operations/{operation_id}/events")
    assert (response.status_code, response.content) == (204, b"")
