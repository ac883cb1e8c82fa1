"""How long one request may wait for connections in all: to authenticate, for its route, and for what follows."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

# What a connection that is free takes to be had, even of a request that has waited its fill.
_MOMENT: Final = 0.1


@dataclass(slots=True)
class _Spent:
    """`seconds` of waiting, as of the time `at`."""

    seconds: float = 0.0
    at: float = 0.0


# None in workers and on the command line: each use of the database waits by itself.
_spent: Final[ContextVar[_Spent | None]] = ContextVar("spent", default=None)


@contextmanager
def one_request() -> Iterator[None]:
    """Within it, all waiting for connections is one."""
    token = _spent.set(_Spent())
    try:
        yield
    finally:
        _spent.reset(token)


@contextmanager
def waiting(limit: float) -> Iterator[float]:
    """The seconds that the block may wait: `limit`, or what the request has left of that.

    Time in which it did something else counts for it again: who preferred to wait for an operation reads it after
    that like anybody else, and a stream never runs out.
    """
    spent = _spent.get()
    if spent is None:
        yield limit
        return
    begun = time.monotonic()
    before = max(0.0, spent.seconds - (begun - spent.at))
    try:
        yield max(_MOMENT, limit - before)
    finally:
        spent.at = time.monotonic()
        spent.seconds = before + spent.at - begun
