"""What a pool of connections is asked for, since its process started."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from app.measures import Distribution

# Seconds. A free connection takes microseconds, a new one some milliseconds; after 1.5 s a request is refused.
BOUNDS: Final = (0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 10.0)


@dataclass(slots=True)
class PoolUse:
    """`waiting` is now; `acquired` are the seconds that those waited who got a connection, `refused` who got none."""

    waiting: int = 0
    refused: int = 0
    acquired: Distribution = field(default_factory=lambda: Distribution(BOUNDS))

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around whatever waits for a connection. A client that went away was not refused."""
        begun = time.perf_counter()
        self.waiting += 1
        try:
            yield
        except Exception:
            self.refused += 1
            raise
        else:
            self.acquired.add(time.perf_counter() - begun)
        finally:
            self.waiting -= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """How many connections are open, how many of these nobody uses, and how many there may be."""

    open: int
    idle: int
    most: int
