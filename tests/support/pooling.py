"""BF_TEST_PGBOUNCER=1: a PgBouncer in transaction mode before each cluster, and every DATABASE_URL goes through it.

Tests hand direct DSNs around, and connect with them to look at the database. Settings and environments are made
of them by settings_for() and environment(), which ask here what the service is to be given.
"""

import os
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from tests.support.pgbouncer import PgBouncer

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

WANTED: Final = os.environ.get("BF_TEST_PGBOUNCER") == "1"

# By the port of the server behind it.
_poolers: dict[int, PgBouncer] = {}


def stand_before(cluster: "Cluster") -> None:
    if WANTED:
        # As docs/operations.md has it: a server that was away is tried again soon, not after 15 seconds.
        pooler = PgBouncer(cluster, settings={"server_login_retry": "1"})
        _poolers[cluster.server.port] = pooler.__enter__()


def leave(cluster: "Cluster") -> None:
    if (pooler := _poolers.pop(cluster.server.port, None)) is not None:
        pooler.__exit__()


def pooled(dsn: str) -> str:
    """What DATABASE_URL is for this direct DSN: the same where no pooler stands before its server."""
    pooler = _poolers.get(urlsplit(dsn).port or 0)
    return dsn if pooler is None else pooler.through(dsn)


def direct(dsn: str) -> str:
    """The DSN without its way through a pooler."""
    parts = urlsplit(dsn)
    for port, pooler in _poolers.items():
        if parts.port == pooler.port:
            return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}"))
    return dsn


def variables(dsn: str) -> dict[str, str]:
    """The environment that connects a process to the database of this DSN."""
    dsn = direct(dsn)
    through = pooled(dsn)
    return {"DATABASE_URL": dsn} if through == dsn else {"DATABASE_URL": through, "BF_DIRECT_DATABASE_URL": dsn}
