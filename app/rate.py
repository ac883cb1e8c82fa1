"""How often somebody may ask: a quota over a window, as GCRA counts it (ITU-T I.371, the leaky bucket as a meter).

`limits` from PyPI was tried. Its storages are Redis, Memcached, MongoDB and this process's memory, none of which a
service of PostgreSQL alone shares anything by; that of memory keeps every key until its window has passed, however many
strangers send one each, and sweeps them in a thread. What is left of it for us is these lines.
"""

import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

_UNITS: Final = {"second": 1, "minute": 60, "hour": 3600}


@dataclass(frozen=True, slots=True)
class Rate:
    """`quota` requests in `window` seconds, all of them at once if need be."""

    quota: int
    window: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Of `600/minute`; None of `off`. Raises ValueError, saying how to write one."""
        if text == "off":
            return None
        match = re.fullmatch(r"([1-9][0-9]{0,8})/(second|minute|hour)", text)
        if match is None:
            raise ValueError("write 600/minute, 10/second, 5000/hour or off")
        return cls(int(match[1]), _UNITS[match[2]])


@dataclass(frozen=True, slots=True)
class Taken:
    """`remaining` more are allowed at once, and all again in `reset` seconds; refused, one is in `retry_after`."""

    allowed: bool
    remaining: int
    reset: int
    retry_after: int


class Buckets:
    """One for each key: the last `most` that were used, so that strangers cannot fill the memory."""

    def __init__(self, rate: Rate, *, most: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate: Final = rate
        self._interval: Final = rate.window / rate.quota
        self._most: Final = most
        self._clock: Final = clock
        # When each would be as if it had never been used.
        self._full_at: Final[OrderedDict[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: str) -> Taken:
        """One request. What is refused counts for nothing."""
        now = self._clock()
        full_at = max(self._full_at.get(key, now), now) + self._interval
        wait = full_at - now - self.rate.window
        # Of sums of fractions the last one of a quota may be a billionth too late.
        if wait > 1e-6:
            return self._taken(False, full_at - self._interval - now, wait)
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
        return self._taken(True, full_at - now, 0)

    def exhausted(self, key: str) -> Taken | None:
        """The refusal that take() would answer with; None where there is something left. Takes nothing."""
        ahead = self._full_at.get(key, 0) - self._clock()
        wait = ahead + self._interval - self.rate.window
        return self._taken(False, ahead, wait) if wait > 1e-6 else None

    def _taken(self, allowed: bool, ahead: float, wait: float) -> Taken:
        left = int((self.rate.window - ahead) / self._interval + 1e-6) if allowed else 0
        return Taken(allowed, left, math.ceil(ahead), math.ceil(wait))
