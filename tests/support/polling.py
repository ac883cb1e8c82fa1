"""Waiting for what another process will do."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg
import httpx

T = TypeVar("T")

_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


async def until(look: Callable[[], Awaitable[T]], *, within: float = 20, what: str = "it") -> T:
    """The first truthy answer of `look`. Raises TimeoutError, with the last answer, after `within` seconds."""
    answer: T | None = None
    try:
        async with asyncio.timeout(within):
            while True:
                answer = await look()
                if answer:
                    return answer
                await asyncio.sleep(0.03)
    except TimeoutError:
        raise TimeoutError(f"{what} did not happen within {within} s; last seen: {answer}") from None


async def waiting_for_locks(conn: asyncpg.Connection, count: int = 1, *, within: float = 20) -> None:
    """Until so many backends of the cluster wait for a lock."""

    async def look() -> bool:
        waiting: int = await conn.fetchval(_WAITING)
        return waiting >= count

    await until(look, within=within, what=f"{count} backends waiting for a lock")


async def ended(client: httpx.AsyncClient, location: str, *, within: float = 30) -> dict[str, Any]:
    """The operation at `location`, once it is terminal."""

    async def look() -> dict[str, Any] | None:
        response = await client.get(location)
        assert response.status_code == 200, response.text
        operation: dict[str, Any] = response.json()
        return operation if operation["status"] in {"succeeded", "failed", "cancelled"} else None

    operation = await until(look, within=within, what=f"the end of {location}")
    assert operation is not None
    return operation


async def insisting(call: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """The answer. Who meets overload, a 503 with Retry-After, asks again as clients do."""

    async def answered() -> httpx.Response | None:
        response = await call()
        if response.status_code != 503:
            return response
        await asyncio.sleep(int(response.headers["retry-after"]))
        return None

    response = await until(answered, within=30, what="an answer but 503")
    assert response is not None
    return response


async def all_at_once(call: Callable[[], Awaitable[httpx.Response]], times: int) -> list[httpx.Response]:
    """The answers to `times` equal requests, each insisting."""
    return await asyncio.gather(*(insisting(call) for _ in range(times)))
