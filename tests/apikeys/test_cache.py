"""Keys that a process remembers: no longer than they hold, and without asking the database each time."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.apikeys.cache import KeyCache
from app.apikeys.model import Role
from app.apikeys.service import Keys, NewKey
from app.apikeys.use import KeyUse
from app.db.pool import Database
from app.errors import Unauthenticated
from app.settings import Settings
from tests.support.api import Api, running_api
from tests.support.polling import until

# What the acceptance names, and a moment for the answer.
_SECONDS = 5.5


def _headers(new: NewKey) -> dict[str, str]:
    return {"Authorization": f"Bearer {new.key}"}


async def _made(database: Database, role: Role = Role.VIEWER) -> NewKey:
    async with database.transaction() as conn:
        return await Keys("").create(conn, name="n", role=role, created_by="tests")


async def _asked(api: Api, new: NewKey) -> int:
    return (await api.client.get("/v1/tenants", headers=_headers(new))).status_code


@pytest.fixture
async def two(settings: Settings) -> AsyncIterator[tuple[Api, Api]]:
    """Two processes' worth of the application, over one database."""
    async with running_api(settings, with_worker=False) as one, running_api(settings, with_worker=False) as other:
        yield one, other


@pytest.mark.parametrize(
    "change",
    ["SET revoked_at = now()", "SET expires_at = now()", "SET secret_hash = decode(repeat('00', 32), 'hex')", None],
)
async def test_what_ends_a_key_holds_in_every_process_within_5_s(
    two: tuple[Api, Api], conn: asyncpg.Connection, change: str | None
) -> None:
    """By SQL, too: the database itself tells every process."""
    new = await _made(two[0].database)
    for api in two:
        assert await _asked(api, new) == 200
    statement = "DELETE FROM bf_control.api_key" if change is None else f"UPDATE bf_control.api_key {change}"
    await conn.execute(f"{statement} WHERE id = $1", new.id)

    async def refused() -> bool:
        return [await _asked(api, new) for api in two] == [401, 401]

    await until(refused, within=_SECONDS, what="refusal")


async def test_a_change_of_role_holds_within_5_s(idle_api: Api, conn: asyncpg.Connection) -> None:
    new = await _made(idle_api.database, Role.ADMIN)
    assert (await idle_api.client.get("/v1/api-keys", headers=_headers(new))).status_code == 200
    await conn.execute("UPDATE bf_control.api_key SET role = 'viewer' WHERE id = $1", new.id)

    async def refused() -> bool:
        return (await idle_api.client.get("/v1/api-keys", headers=_headers(new))).status_code == 403

    await until(refused, within=_SECONDS, what="refusal")


async def test_a_revocation_whose_notification_is_lost_holds_within_5_s(
    idle_api: Api, superuser: asyncpg.Connection
) -> None:
    new = await _made(idle_api.database)
    assert await _asked(idle_api, new) == 200
    await superuser.execute("ALTER TABLE bf_control.api_key DISABLE TRIGGER api_key_changed")
    await superuser.execute("UPDATE bf_control.api_key SET revoked_at = now() WHERE id = $1", new.id)

    async def refused() -> bool:
        return await _asked(idle_api, new) == 401

    await until(refused, within=_SECONDS, what="refusal")


async def test_a_known_key_costs_the_database_nothing(database: Database, settings: Settings) -> None:
    new = await _made(database)
    cache = KeyCache(Keys(""), database, settings.direct_dsn(), use=KeyUse(database))
    assert (await cache.verify(new.key)).id == new.id

    async def listens() -> bool:
        """And has forgotten what it knew before."""
        return cache._changes > 0

    await until(listens, what="listening")
    assert (await cache.verify(new.key)).id == new.id
    await cache.stop()
    await database.close()  # whoever asked now would fail
    for _ in range(100):
        assert (await cache.verify(new.key)).id == new.id
    for wrong in (f"bfk_{new.id}.{'A' * 43}", "bfk_x.y", ""):
        with pytest.raises(Unauthenticated):
            await cache.verify(wrong)


async def test_a_wrong_secret_of_a_known_key_stays_wrong_and_puts_nobody_out(idle_api: Api) -> None:
    new = await _made(idle_api.database)
    for _ in range(2):
        assert await _asked(idle_api, new) == 200
        assert await _asked(idle_api, NewKey(id=new.id, key=f"bfk_{new.id}.{'A' * 43}")) == 401


async def test_a_process_keeps_no_secret(idle_api: Api) -> None:
    new = await _made(idle_api.database)

    async def held_by_the_process() -> str | None:
        """Once it listens for changes it forgets what it knew before."""
        assert await _asked(idle_api, new) == 200
        held = repr(
            [vars(kept) if hasattr(kept, "__dict__") else kept for kept in idle_api.services.known_keys._kept.values()]
        )
        return held if new.id in held else None

    held = await until(held_by_the_process, what="the key's being kept")
    assert held is not None
    assert new.key.partition(".")[2] not in held


# last_used_at ----------------------------------------------------------------------------------------


async def _last_used(conn: asyncpg.Connection, new: NewKey) -> float | None:
    """Seconds ago."""
    ago: float | None = await conn.fetchval(
        "SELECT extract(epoch FROM now() - last_used_at)::float8 FROM bf_control.api_key WHERE id = $1", new.id
    )
    return ago


async def test_use_is_written_together_and_no_request_waits_for_it(
    database: Database, settings: Settings, conn: asyncpg.Connection
) -> None:
    use = KeyUse(database)
    cache = KeyCache(Keys(""), database, settings.direct_dsn(), use=use)
    used, unused = await _made(database), await _made(database)
    for _ in range(3):
        await cache.verify(used.key)
    with pytest.raises(Unauthenticated):
        await cache.verify(f"bfk_{unused.id}.{'A' * 43}")
    assert await _last_used(conn, used) is None
    await use.flush()
    ago = await _last_used(conn, used)
    assert ago is not None
    assert 0 <= ago < 5
    assert await _last_used(conn, unused) is None
    before = await conn.fetchval("SELECT xmin::text FROM bf_control.api_key WHERE id = $1", used.id)
    await use.flush()
    assert await conn.fetchval("SELECT xmin::text FROM bf_control.api_key WHERE id = $1", used.id) == before
    await cache.stop()


async def test_what_cannot_be_written_is_written_later_and_time_goes_only_forward(
    database: Database, conn: asyncpg.Connection
) -> None:
    new = await _made(database)
    use = KeyUse(database)
    now = asyncio.get_running_loop().time()
    use.note(new.id, now - 10)
    await conn.execute("ALTER TABLE bf_control.api_key RENAME TO api_key_away")
    await use.flush()
    await conn.execute("ALTER TABLE bf_control.api_key_away RENAME TO api_key")
    await use.flush()
    ago = await _last_used(conn, new)
    assert ago is not None
    assert 9 < ago < 20
    use.note(new.id, now - 100)  # of a process that writes late
    await use.flush()
    assert (await _last_used(conn, new) or 100) < 30


async def test_use_is_written_when_the_process_ends(settings: Settings, conn: asyncpg.Connection) -> None:
    async with running_api(settings, with_worker=False) as api:
        new = await _made(api.database)
        assert await _asked(api, new) == 200
        assert await _last_used(conn, new) is None
    assert await _last_used(conn, new) is not None


async def test_use_is_told_to_nobody(database: Database, conn: asyncpg.Connection) -> None:
    """Else every process would forget a key whenever another wrote that it was used."""
    new = await _made(database)
    heard: list[str] = []
    await conn.add_listener("bf_api_key", lambda *event: heard.append(event[3]))
    use = KeyUse(database)
    use.note(new.id, asyncio.get_running_loop().time())
    await use.flush()
    async with database.transaction() as writing:
        await writing.execute("UPDATE bf_control.api_key SET revoked_at = now() WHERE id = $1", new.id)

    async def told() -> bool:
        return bool(heard)

    await until(told, what="the notification")
    assert heard == [new.id]


async def test_a_key_is_remembered_without_the_database_while_it_would_hold_and_no_longer(
    database: Database, settings: Settings
) -> None:
    """For the calls that outlast the database. Whoever was refused last is not remembered, nor a wrong secret."""
    cache = KeyCache(Keys(""), database, settings.direct_dsn(), use=KeyUse(database))
    lasting, ending, revoked = [await _made(database, Role.METRICS) for _ in range(3)]
    async with database.connection() as conn:
        await conn.execute("UPDATE bf_control.api_key SET expires_at = now() + interval '3 s' WHERE id = $1", ending.id)
    for new in (lasting, ending, revoked):
        await cache.verify(new.key)
    await until(lambda: _listening(cache), what="listening")
    for new in (lasting, ending, revoked):
        await cache.verify(new.key)
    async with database.connection() as conn:
        await conn.execute("UPDATE bf_control.api_key SET revoked_at = now() WHERE id = $1", revoked.id)

    async def refused() -> bool:
        return cache.remembered(revoked.key) is None

    await until(refused, within=_SECONDS, what="forgetting")
    await cache.stop()
    await database.close()
    known = cache.remembered(lasting.key)
    assert known is not None
    assert known.id == lasting.id
    assert cache.remembered(f"bfk_{lasting.id}.{'A' * 43}") is None

    async def ended() -> bool:
        return cache.remembered(ending.key) is None

    await until(ended, within=5, what="the end of the key")
    assert cache.remembered(lasting.key) is not None


async def _listening(cache: KeyCache) -> bool:
    """And it has forgotten what it knew before."""
    return cache._changes > 0
