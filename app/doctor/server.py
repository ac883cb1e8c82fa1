"""The server and the way to it: version, TLS, poolers, extensions."""

import ipaddress
from typing import Final

from app.doctor import queries
from app.doctor.address import Address
from app.doctor.connecting import ENCRYPT
from app.doctor.model import Finding, Look, failed, not_checked, passed, warned
from app.doctor.pooler import Pooling
from app.doctor.queries import Place
from app.doctor.subject import Subject

_OLDEST: Final = 13


async def server_version(subject: Subject) -> Finding:
    server = await queries.server(subject.conn)
    return judge_version(server["number"], server["version"])


def judge_version(number: int, version: str) -> Finding:
    """`number` is server_version_num."""
    if number >= _OLDEST * 10000:
        return passed(f"PostgreSQL {version}")
    why = f"the service needs PostgreSQL {_OLDEST} or newer; this line upgrades a cluster of Debian's called main"
    return failed(f"PostgreSQL {version}", why, f"pg_upgradecluster {number // 10000} main")


async def tls(subject: Subject) -> Finding:
    address, state = subject.address, await queries.tls(subject.conn)
    if state is None:
        return not_checked("the session's role may not see its own login in pg_stat_ssl")
    observed = f"{state['version'] if state['ssl'] else 'no TLS'}, sslmode {address.sslmode or 'not given'}"
    if address.local:
        return passed(observed, f"{address.host or 'a Unix socket'} is this machine")
    if address.encrypted and state["ssl"]:
        return passed(observed, "" if address.sslmode == "verify-full" else "verify-full would also check who answers")
    if not state["possible"]:
        why = f"what goes to {address.host} can be read on the way, and the server is a build without TLS"
        return warned(observed, why, await _install(subject))
    if address.encrypted:
        why = "TLS ends before the server: the pooler on the way (PgBouncer: server_tls_sslmode) goes on without"
        return warned(observed, why, *ENCRYPT)
    if state["ssl"]:
        return warned(observed, "the URL would take a connection without TLS too", address.with_tls())
    why = f"what goes to {address.host} can be read on the way; for TLS, the server needs server.crt and server.key"
    return warned(observed, why, *ENCRYPT, address.with_tls())


def pooler(address: Address, pooling: Pooling, where: Place) -> Finding:
    """Of the connection that DDL and LISTEN take: both need a session of their own."""
    if pooling is Pooling.NONE:
        return passed(f"{address.variable}: straight to the server")
    host = where.host
    if host is None or (ipaddress.ip_address(host).is_loopback and not address.local):
        host = address.hosts[0][0]
    line = address.elsewhere("BF_DIRECT_DATABASE_URL", host, where.port)
    observed = f"{address.variable}: a pooler, by {pooling}"
    if pooling is Pooling.TRANSACTION:
        why = "LISTEN and DDL need a connection of their own, and lose it between transactions"
        return failed(observed, f"{why}: name a direct one beside DATABASE_URL", line)
    why = "it refuses lock_timeout at login, or ignores it, and DDL then waits for locks without an end"
    return failed(observed, f"{why}: name a direct one beside DATABASE_URL", line)


async def extensions(subject: Subject) -> Finding:
    there = "there, and not needed" if await queries.has_uuid_ossp(subject.conn) else "not there, and not needed"
    return passed(
        f"none is needed; uuid-ossp is {there}", "gen_random_uuid(), jsonb and row-level security are PostgreSQL's own"
    )


async def pg_stat_statements(subject: Subject) -> Finding:
    seen = await queries.statements(subject.conn)
    if not seen["available"]:
        why = "query statistics are recommended for monitoring, and the server's contrib package is not installed"
        return warned("not available", why, await _install(subject))
    mend = []
    if not seen["loaded"]:
        mend += [seen["preload"]] if seen["complete"] else [Look("SHOW shared_preload_libraries;"), seen["preload"]]
    if not seen["created"]:
        mend.append("CREATE EXTENSION pg_stat_statements;")
    observed = ", ".join(f"{'' if seen[step] else 'not '}{step}" for step in ("loaded", "created"))
    if not mend:
        return passed(observed)
    why = "query statistics are recommended for monitoring"
    if not seen["loaded"]:
        why += "; preloading needs a restart of the server"
        why += "" if seen["complete"] else ", and what SHOW lists belongs before it"
    return warned(observed, why, *mend)


async def _install(subject: Subject) -> str:
    """The shell line for the server's own machine; Debian's package brings TLS and contrib."""
    return f"apt-get install postgresql-{(await queries.server(subject.conn))['number'] // 10000}"
