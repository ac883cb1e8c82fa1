"""The requests of this process, as RequestContext tells of them: no middleware of its own, which would cost more."""

from collections import Counter
from typing import Final

from starlette.types import Scope

from app.measures import Distribution

# Seconds.
BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# Whatever a client may send is no label: who invents methods or paths would make a series of each.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")


class Requests:
    """`counts` are by method, route and class of status, `durations` by method and route."""

    def __init__(self) -> None:
        self.in_progress = 0
        self.counts: Final[Counter[tuple[str, str, str]]] = Counter()
        self.durations: Final[dict[tuple[str, str], Distribution]] = {}

    def begun(self) -> None:
        self.in_progress += 1

    def ended(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        self.in_progress -= 1
        known = method if method in _METHODS else "other"
        route: str = getattr(scope.get("route"), "path_format", "unmatched")
        self.counts[known, route, _CLASSES[status // 100]] += 1
        durations = self.durations.get((known, route))
        if durations is None:
            durations = self.durations[known, route] = Distribution(BOUNDS)
        durations.add(seconds)
