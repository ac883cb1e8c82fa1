"""What the connected role may do, and who would get around row-level security."""

from app.doctor import queries
from app.doctor.model import Finding, failed, passed, warned
from app.doctor.subject import Subject
from app.isolation import queries as isolation


async def create_on_database(subject: Subject) -> Finding:
    found = await queries.create_on_database(subject.conn)
    if found["held"]:
        return passed("held")
    return failed("not held", "the service makes schemas", found["mend"])


async def create_on_public(subject: Subject) -> Finding:
    """The guide asks for it, for Alembic's version table and nothing else: no reason to warn."""
    if (found := await queries.create_on_public(subject.conn))["held"]:
        return passed("held")
    return passed("not held", f"only Alembic's version table needs it: {found['mend']}")


async def createrole(subject: Subject) -> Finding:
    wanted = [subject.settings.app_role, subject.settings.audit_role]
    found = await queries.createrole(subject.conn, wanted)
    held = "held" if found["held"] else "not held"
    if not found["missing"]:
        return passed(f"{held}; {' and '.join(wanted)} exist")
    observed = f"{held}; {' and '.join(found['missing'])} to be made"
    if not subject.settings.create_roles:
        why = "BF_CREATE_ROLES is false, and these roles do not exist"
        return failed(f"not used; {' and '.join(found['missing'])} missing", why, *found["creating"])
    return passed(observed) if found["held"] else failed(observed, "upgrade is to create these roles", found["mend"])


async def audit_role(subject: Subject) -> Finding:
    name = subject.settings.audit_role
    found = await queries.audit_role(subject.conn, name)
    if found is None:
        return passed(f"{name} does not exist yet", "who makes a role may grant it")
    if found["member"]:
        return passed(f"a member of {name}")
    if found["grantable"]:
        return passed(f"may grant {name}", "upgrade will")
    why = "somebody else made it, and as it the owner reads all tenants: usage, backup and purge will be refused"
    return warned(f"{name} cannot be granted", why, found["mend"])


async def pg_monitor(subject: Subject) -> Finding:
    found = await queries.monitor(subject.conn)
    if found["held"]:
        return passed("a member")
    why = "without it, health shows neither other sessions' statements nor all settings"
    return warned("no member", why, found["mend"])


async def connected_role(subject: Subject) -> Finding:
    found = await queries.connected_role(subject.conn)
    if not found["above"]:
        return passed(f"{found['name']} is no superuser and has no BYPASSRLS")
    why = "it owns all tables, and row-level security would not hold it"
    return warned(f"{found['name']} is above row-level security", why, found["mend"])


async def rls_bypass(subject: Subject) -> Finding:
    settings = subject.settings
    ways = await isolation.bypass(subject.conn, app_role=settings.app_role, audit_role=settings.audit_role)
    if not ways:
        return passed(f"nobody who acts as {settings.app_role} or {settings.audit_role}")
    mend = dict.fromkeys(mend for _, mend in ways)
    return failed(f"{len(ways)} ways around row-level security", "; ".join(way for way, _ in ways), *mend)
