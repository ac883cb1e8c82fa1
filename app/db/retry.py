"""Trying again what a busy database refused."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from app.errors import Transient

T = TypeVar("T")

_random: Final = random.SystemRandom()


def backoff(attempt: int, *, base: float = 0.1, cap: float = 5.0) -> float:
    """Seconds before try `attempt` + 1: full jitter, so that those who collided do not meet again."""
    return _random.uniform(0, min(cap, base * 2**attempt))


async def retrying(work: Callable[[], Awaitable[T]], *, attempts: int = 5) -> T:
    """Runs `work`, a whole transaction, until it succeeds or has been refused `attempts` times.

    Only Transient is tried again; the last one is raised.
    """
    for attempt in range(1, attempts):
        try:
            return await work()
        except Transient:
            await asyncio.sleep(backoff(attempt))
    return await work()
