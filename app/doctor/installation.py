"""What is installed: whose it is, at which version, with which settings, and what is left half done."""

import shlex
from typing import Final

from app.doctor import queries
from app.doctor.model import Finding, failed, not_checked, passed, warned
from app.doctor.subject import Subject
from app.isolation import queries as isolation
from app.schema import files, service

_UPGRADE: Final = "bf-admin upgrade"
_SHOWN: Final = 10
# Settings that the functions in the database were made with, and the variables they came from.
_VARIABLES: Final = {
    "shared_schema": "BF_SCHEMA_NAME",
    "app_role": "BF_APP_ROLE",
    "audit_role": "BF_AUDIT_ROLE",
    "enable_rls": "BF_ENABLE_RLS",
}


async def owner(subject: Subject) -> Finding:
    found = await queries.owner(subject.conn)
    if found is None:
        return passed("nothing is installed")
    if found["ours"]:
        return passed(f"{found['owner']} owns the service's schema")
    why = f"one role owns all of it: connect as {found['owner']}, or be that role from login on"
    observed = f"owned by {found['owner']}, connected as {found['connected']}"
    return failed(observed, why, *(found["mend"] or [subject.address.template(user=found["owner"])]))


async def schema(subject: Subject) -> Finding:
    if unreadable := await _unreadable(subject):
        return unreadable
    # Before anything is asked of bf_control: it may be somebody else's.
    if await queries.owner(subject.conn) is None and (blocked := await _blocked(subject, "bf_control", "bf_queue")):
        return blocked
    state = await service.state(subject.conn, files.migrations())
    if "shared" not in state.current and (blocked := await _blocked(subject)):
        return blocked
    ahead = [layer for layer, version in state.current.items() if version > state.latest[layer]]
    if ahead:
        why = "a newer release of the service has upgraded this database"
        return failed(f"newer than this release: {', '.join(ahead)}", why, "install that release of this service")
    if "shared" not in state.current:
        return warned("not installed", "nothing is there yet", _UPGRADE)
    if not state.up_to_date:
        behind = sum(count for version, count in state.tenants.items() if version < state.latest["tenant"])
        return warned(f"{len(state.pending)} migrations pending, {behind} tenants behind", "run the upgrade", _UPGRADE)
    versions = ", ".join(f"{layer} {version}" for layer, version in sorted(state.current.items()))
    return passed(f"up to date: {versions}")


async def _blocked(subject: Subject, *names: str) -> Finding | None:
    """Where a schema, the shared one included, has the name of one that is not installed yet."""
    blocking = await queries.in_the_way(subject.conn, [*names, subject.settings.schema_name])
    if not blocking:
        return None
    why = "of the service's name, but not made by it: upgrade touches nothing of somebody else's"
    return failed(f"schema {', '.join(name for name, _ in blocking)} is in the way", why, *(m for _, m in blocking))


async def settings(subject: Subject) -> Finding:
    if unreadable := await _unreadable(subject):
        return unreadable
    if await queries.owner(subject.conn) is None:
        return passed("nothing is installed")
    stored, ours = await queries.stored_settings(subject.conn), files.target(subject.settings).settings()
    differing = {name: stored[name] for name in _VARIABLES if name in stored and stored[name] != ours[name]}
    if not differing:
        return passed("as the database was made with")
    observed = ", ".join(f"{_VARIABLES[name]} is {ours[name]}, made with {value}" for name, value in differing.items())
    mend = (f"export {_VARIABLES[name]}={shlex.quote(value)}" for name, value in differing.items())
    return failed(observed, "a database keeps the settings it was made with", *mend)


async def row_security(subject: Subject) -> Finding:
    if not subject.settings.enable_rls:
        return warned("BF_ENABLE_RLS is false", "only schemas and their CHECKs separate tenants")
    found = await isolation.shared_rls(subject.conn, subject.settings.schema_name)
    if found is None:
        return passed("nothing is installed")
    if found["enabled"]:
        return passed("tenant_config has row-level security")
    return failed("tenant_config has no row-level security", "every application sees every tenant's", found["mend"])


async def tenants(subject: Subject) -> Finding:
    if unreadable := await _unreadable(subject):
        return unreadable
    if await queries.owner(subject.conn) is None:
        return passed("nothing is installed")
    failing = await queries.failed_tenants(subject.conn, limit=_SHOWN + 1)
    if not failing:
        return passed("none has failed")
    count = f"more than {_SHOWN}" if len(failing) > _SHOWN else str(len(failing))
    mend = (
        f"bf-admin create-tenant --tenant-id {shlex.quote(tenant_id)} --tenant-name {shlex.quote(name)}"
        for tenant_id, name in failing[:_SHOWN]
    )
    return warned(f"{count} failed", "their schemas were not built; the same again repairs them", *mend)


async def _unreadable(subject: Subject) -> Finding | None:
    """Only the owner reads bf_control, and whoever may be it."""
    found = await queries.owner(subject.conn)
    if found is None or found["ours"]:
        return None
    return not_checked(f"bf_control is {found['owner']}'s")
