"""Connections and transactions: every use of the database is inside one of these two blocks."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from app.db import patience
from app.db.connect import connect_arguments
from app.db.translate import no_connection, translate, unreachable, while_connecting
from app.db.use import PoolState, PoolUse
from app.log import logger
from app.tracing import Tracing

if TYPE_CHECKING:
    from asyncpg.connection import LoggedQuery
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

_log = logger(__name__)


class _NotKept(Exception):
    """Ends a dry run's transaction."""


class Database:
    """A pool that connects when it is needed, so that a process can start before its database does.

    `acquire_timeout` is in seconds and bounds connecting as well as waiting for a free connection, of all that one
    request does together (app.db.patience); `command_timeout` bounds each statement, for where the server no longer
    answers.
    `pooled` is for PgBouncer in transaction mode, which keeps no statements of ours, has a server for us from
    a transaction's start to its end, and takes no settings when we connect: `opening`, a statement, opens each
    transaction with them.
    """

    def __init__(
        self,
        dsn: str,
        *,
        max_size: int,
        application_name: str = "bf-admin",
        acquire_timeout: float = 1.5,
        statement_cache: bool = True,
        pooled: bool = False,
        opening: str | None = None,
        server_settings: dict[str, str] | None = None,
        command_timeout: float | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._arguments = connect_arguments(dsn, application_name=application_name)
        self._arguments["server_settings"].update(server_settings or {})
        self._arguments["command_timeout"] = command_timeout
        self._max_size = max_size
        self._acquire_timeout = acquire_timeout
        self._statement_cache_size = 100 if statement_cache and not pooled else 0
        self._pooled = pooled
        self._opening = opening
        self._tracing = tracing
        self._pool: Pool | None = None
        self.use = PoolUse()

    async def open(self) -> None:
        """Makes the pool; connects to nothing yet."""
        self._pool = await asyncpg.create_pool(
            **self._arguments,
            min_size=0,
            max_size=self._max_size,
            statement_cache_size=self._statement_cache_size,
            init=self._initialise,
            reset=_leave_as_it_is,
        )

    async def renew(self) -> None:
        """Connections made so far are used no more. What a server process has learned of tables ends with it alone."""
        await self.pool.expire_connections()

    @asynccontextmanager
    async def side_pool(self, *, max_size: int) -> AsyncIterator[Pool]:
        """A pool beside this one, to the same server, for bookkeeping that a crash of the server may undo.

        Its statements are cached and its commits wait for no disk. Not behind PgBouncer in transaction mode,
        and not for DDL.
        """
        settings = {**self._arguments["server_settings"], "synchronous_commit": "off"}
        pool = asyncpg.create_pool(
            **{**self._arguments, "server_settings": settings},
            min_size=0,
            max_size=max_size,
            init=_initialise,
            reset=_leave_as_it_is,
        )
        await pool
        try:
            yield pool
        finally:
            await _close(pool, timeout=5.0)

    async def close(self, *, timeout: float = 5.0) -> None:  # noqa: ASYNC109 -- a deadline of its own
        """Waits `timeout` seconds for connections in use, then cuts them."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        await _close(pool, timeout=timeout)

    async def __aenter__(self) -> "Database":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def pool(self) -> Pool:
        if self._pool is None:
            raise no_connection()
        return self._pool

    @property
    def state(self) -> PoolState:
        pool = self._pool
        if pool is None:
            return PoolState(open=0, idle=0, most=self._max_size)
        return PoolState(open=pool.get_size(), idle=pool.get_idle_size(), most=self._max_size)

    @property
    def max_size(self) -> int:
        return self._max_size

    @property
    def in_use(self) -> int:
        """Connections that somebody has at this moment."""
        return 0 if self._pool is None else self._pool.get_size() - self._pool.get_idle_size()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection in autocommit. Raises Unavailable when there is none, DatabaseError for the rest.

        Where it is pooled, this is one transaction, which has one server and our settings.
        """
        async with self._acquired() as conn:
            if self._pooled:
                async with self._begun(conn):
                    yield conn
            else:
                yield conn

    @asynccontextmanager
    async def transaction(self, *, keep: bool = True) -> AsyncIterator[Connection]:
        """One transaction: committed when the block ends, rolled back when it raises.

        Not to `keep`: rolled back in any case, for a dry run that does everything and leaves nothing.
        """
        with suppress(_NotKept):
            async with self._acquired() as conn, self._begun(conn):
                yield conn
                if not keep:
                    raise _NotKept

    async def _initialise(self, conn: Connection) -> None:
        await _initialise(conn)
        if self._tracing is not None:
            conn.add_query_logger(partial(_tell, self._tracing))

    @asynccontextmanager
    async def _begun(self, conn: Connection) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            try:
                # PgBouncer takes a client on while it has no server to be had: it is the first statement that waits.
                with patience.waiting(self._acquire_timeout) as seconds:
                    async with asyncio.timeout(seconds if self._pooled else None) as waiting:
                        await stack.enter_async_context(conn.transaction())
            except TimeoutError as error:
                if not waiting.expired():
                    raise
                self.use.refused += 1
                conn.terminate()  # else giving it back would wait for that statement
                raise no_connection() from error
            if self._opening is not None:
                await conn.execute(self._opening)
            yield

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Connection]:
        pool = self.pool
        try:
            with self.use.asking(), patience.waiting(self._acquire_timeout) as seconds:
                conn = await pool.acquire(timeout=seconds)
        except Exception as error:
            if unreachable(error):
                _log.warning("database_unreachable", error=type(error).__name__, reason=str(error))
            raise while_connecting(error) or error from error
        try:
            yield conn
        except Exception as error:
            translated = translate(error, closed=_is_closed(conn))
            if translated is None:
                raise
            raise translated from error
        finally:
            # A connection that died in use cannot be reset; the pool replaces it. Shielded: a cancelled
            # request must still give its connection back.
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await asyncio.shield(pool.release(conn, timeout=5))


def _is_closed(conn: Connection) -> bool:
    """A connection that was lost goes back to its pool at once, and its proxy then answers nothing but an error."""
    try:
        return conn.is_closed()
    except asyncpg.InterfaceError:
        return True


async def _initialise(conn: Connection) -> None:
    await conn.set_type_codec("jsonb", schema="pg_catalog", encoder=_dump, decoder=_load, format="text")


def _tell(tracing: Tracing, query: "LoggedQuery") -> None:
    tracing.queried(query.query, query.elapsed, query.exception, parameters=bool(query.args))


async def _leave_as_it_is(_: Connection) -> None:
    """Nothing outlives a transaction: settings are SET LOCAL, advisory locks the transaction's, LISTEN has its own
    connections. asyncpg has rolled back what was left open; its RESET ALL would be one more round trip per use.
    """


async def _close(pool: Pool, *, timeout: float) -> None:  # noqa: ASYNC109 -- a deadline of its own
    try:
        await asyncio.wait_for(pool.close(), timeout)
    except TimeoutError:
        pool.terminate()


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _load(text: str) -> Any:
    """A number that Python or a double cannot hold becomes its text: SQL may have stored it."""
    return json.loads(text, parse_int=_integer, parse_float=_fraction)


def _integer(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:  # more digits than Python converts
        return text


def _fraction(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text
