"""Whether the server has room for what the service does at a time."""

from typing import Final

from app.db import pools
from app.doctor import queries
from app.doctor.model import Finding, failed, passed, warned
from app.doctor.subject import Subject

# Measured: an upgrade from nothing takes 319 locks on PostgreSQL 18, dropping a tenant 356, creating one 126.
_LOCKS: Final = 400


async def lock_table(subject: Subject) -> Finding:
    wanted = _LOCKS * subject.settings.worker_concurrency
    found = await queries.locks(subject.conn, wanted)
    observed = f"{found['each']} locks for each of {found['times']} transactions: {found['slots']}"
    if found["slots"] >= wanted:
        return passed(observed)
    need = f"dropping a tenant takes some {_LOCKS} in one transaction"
    if found["slots"] < _LOCKS:
        return failed(observed, f"{need}; this needs a restart of the server", found["mend"])
    why = f"{need}, {subject.settings.worker_concurrency} at a time; this needs a restart of the server"
    return warned(observed, why, found["mend"])


async def connections(subject: Subject) -> Finding:
    """For one process of each kind; more of them need as many times more."""
    wanted = pools.most_connections(subject.settings)
    limits = await queries.limits(subject.conn, wanted)
    observed = ", ".join(f"{limit['whose']} {limit['connections']}" for limit in limits)
    mend = [limit["mend"] for limit in limits if limit["connections"] < wanted]
    if not mend:
        return passed(f"{observed}; one serve and one worker take up to {wanted}")
    why = "max_connections needs a restart of the server; or lower BF_DB_POOL_MAX and BF_WORKER_CONCURRENCY"
    return warned(f"{observed}; one serve and one worker take up to {wanted}", why, *mend)
