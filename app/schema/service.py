"""Rules of the migration ledger: what is applied, what is pending, applying it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from app.db.pool import Connection
from app.errors import AppError, Conflict, DatabaseError, PrivilegeMissing
from app.schema import catalogue, queries, script
from app.schema.expected import ExpectedTenants
from app.schema.script import Layer, Migration, Target

_INSTALL_FIRST: Final = "Install the shared schema first: POST /v1/schema/upgrade, or bf-admin upgrade."
_CREATED: Final = re.compile(r"^CREATE (TABLE|FUNCTION) \{\{shared\}\}\.(\w+)")


class SchemaNotInstalled(Conflict):
    code = "schema_not_installed"
    title = "The shared schema is not installed"


class TenantRolesDiffer(Conflict):
    code = "tenant_roles_differ"
    title = "The database was made with other settings"


class SchemaBusy(Conflict):
    code = "schema_operation_running"
    title = "Another operation on the schema is running"


class CatalogueMismatch(AppError):
    """What was built is not what the files say; it was rolled back."""

    code = "catalogue_mismatch"
    title = "The catalogue does not show what was to be built"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationState:
    layer: str
    version: int
    name: str
    checksum: str
    applied_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaState:
    """`tenants` counts tenants by schema version, if they were counted; `current` has no entry for a missing layer."""

    server_version: str
    current: dict[str, int]
    latest: dict[str, int]
    migrations: tuple[MigrationState, ...]
    tenants: dict[int, int]

    @property
    def pending(self) -> tuple[MigrationState, ...]:
        return tuple(m for m in self.migrations if m.applied_at is None)

    @property
    def up_to_date(self) -> bool:
        newest = self.latest["tenant"]
        return not self.pending and all(version >= newest for version in self.tenants)


async def state(conn: Connection, migrations: Sequence[Migration], *, counted: bool = True) -> SchemaState:
    """Reads the ledger; of a database without one, everything is pending. To count the tenants reads them all."""
    installed = await queries.installed(conn)
    applied = {(a.layer, a.version): a for a in await queries.ledger(conn)} if installed else {}
    states = []
    for migration in migrations:
        row = applied.get((migration.layer, migration.version))
        states.append(
            MigrationState(
                layer=migration.layer,
                version=migration.version,
                name=migration.name,
                checksum=migration.checksum if row is None else row.checksum,
                applied_at=None if row is None else row.applied_at,
            )
        )
    current: dict[str, int] = {}
    for layer, version in applied:
        current[layer] = max(version, current.get(layer, 0))
    return SchemaState(
        server_version=queries.server_version(conn),
        current=current,
        latest=script.latest(migrations),
        migrations=tuple(states),
        tenants=await queries.spread(conn) if installed and counted else {},
    )


async def install(
    conn: Connection,
    migrations: Sequence[Migration],
    target: Target,
    *,
    layers: Sequence[Layer] = script.LAYERS,
) -> list[Migration]:
    """Applies the pending files of `layers` in the caller's transaction; returns them.

    Two at once do the work once: the second waits for the advisory lock and finds nothing pending.
    Raises DatabaseError where an applied file was edited (naming it), where the settings are not those the
    database was made with, where it is newer than the files, or where somebody else owns it.
    """
    for statement in script.opening():
        await conn.execute(statement)
    if await queries.installed(conn):
        await conn.execute(script.check_release(migrations, target))
    applied = []
    for migration in migrations:
        if migration.layer in layers and await _pending(conn, migration):
            for statement in script.render(migration, target):
                await conn.execute(statement)
            applied.append(migration)
    if any(migration.layer == "shared" for migration in applied):
        await _judge_shared(conn, migrations, target)
    if "shared" in layers and await queries.tenant_roles(conn) != target.tenant_roles:
        await queries.use_tenant_roles(conn, wanted=target.tenant_roles)
    return applied


async def _pending(conn: Connection, migration: Migration) -> bool:
    return not await queries.installed(conn) or bool(await conn.fetchval(script.is_pending(migration)))


async def _judge_shared(conn: Connection, migrations: Sequence[Migration], target: Target) -> None:
    """Every table and function that the files create is in the catalogue, before anything commits."""
    wanted = {
        (match[1].lower(), match[2])
        for migration in migrations
        if migration.layer == "shared"
        for statement in migration.statements
        if (match := _CREATED.match(statement.text))
    }
    lines = await catalogue.read(conn, target.shared_schema) or ()
    found = {tuple(line.split("\t")[:2]) for line in lines}
    names = {("table", name) for kind, name in found if kind == "relation"}
    names |= {("function", name.partition("(")[0]) for kind, name in found if kind == "function"}
    missing = sorted(" ".join(thing) for thing in wanted - names)
    if missing:
        raise CatalogueMismatch(f"After the upgrade the catalogue lacks: {', '.join(missing)}.")


async def upgrade_tenant(conn: Connection, expected: ExpectedTenants, tenant_id: str) -> int:
    """Brings one tenant to the latest version and compares its catalogue, in the caller's transaction.

    Returns the version. Raises CatalogueMismatch, so that the transaction rolls back, where the outcome is
    not what a new tenant would be.
    """
    await conn.execute("SET LOCAL lock_timeout = '5s'")
    schema_name, version = await queries.upgrade_tenant(conn, tenant_id)
    await judge_tenant(
        conn, expected, tenant_id=tenant_id, schema_name=schema_name, version=version, extra_is_fine=True
    )
    return version


async def judge_tenant(
    conn: Connection,
    expected: ExpectedTenants,
    *,
    tenant_id: str,
    schema_name: str,
    version: int,
    extra_is_fine: bool = False,
) -> None:
    """Raises CatalogueMismatch, naming the objects, where the tenant's catalogue is not the expected one.

    `extra_is_fine`: of a tenant in use, what somebody added to it is not the upgrade's business.
    """
    difference = await expected.difference(conn, tenant_id=tenant_id, schema_name=schema_name, version=version)
    if extra_is_fine and difference.extra:
        difference = replace(difference, extra=())
    if not difference.ok:
        # What is expected may have changed with the server's own settings, default privileges for one: the
        # next try finds it out anew.
        expected.forget()
        raise CatalogueMismatch(f"Schema {schema_name} is not as expected: {difference.summary()}.")


async def require_shared(conn: Connection) -> int:
    """The latest tenant version. Raises SchemaNotInstalled, naming the mend, before the first upgrade.

    bf_control must be there: a service that is ready has it, others ask require_installed().
    """
    version = await queries.latest_tenant_version(conn)
    if version is None:
        raise SchemaNotInstalled(_INSTALL_FIRST)
    return version


async def require_accepting(conn: Connection) -> None:
    """Whether tenants may be asked for. Raises SchemaNotInstalled, and SchemaBusy until a downgrade has ended."""
    version, downgrade = await queries.accepting(conn)
    if version is None:
        raise SchemaNotInstalled(_INSTALL_FIRST)
    if downgrade is not None:
        raise SchemaBusy("A downgrade is under way; wait for its end.", operation=f"/v1/operations/{downgrade}")


async def require_installed(conn: Connection) -> int:
    """As require_shared(), of a database nothing is known of."""
    if not await queries.installed(conn):
        raise SchemaNotInstalled("Install the schema first: bf-admin upgrade.")
    return await require_shared(conn)


async def require_settings(conn: Connection, target: Target) -> None:
    """Raises DatabaseError, naming the difference, where the database was made with other BF_* settings.

    Raises TenantRolesDiffer for the one among them that an upgrade changes.
    """
    if not await queries.installed(conn):
        return
    await queries.check_release(conn, target.settings())
    if await queries.latest_tenant_version(conn) is None:
        return
    if (there := await queries.tenant_roles(conn)) != target.tenant_roles:
        ours, stored = str(target.tenant_roles).lower(), str(there).lower()
        raise TenantRolesDiffer(
            f"BF_TENANT_ROLES is {ours} here, and {stored} in the database: set it to that, or change the database "
            "by bf-admin upgrade."
        )


async def explain(conn: Connection, error: DatabaseError, *, create_roles: bool = False) -> str:
    """`error` for people: for a missing privilege, with the statements that grant it."""
    detail = error.detail
    if isinstance(error, PrivilegeMissing):
        missing = await queries.missing_privileges(conn, create_roles=create_roles)
        if missing:
            return f"{detail}. Run as a superuser: {' '.join(missing)}"
    return f"{detail}. {error.hint}" if error.hint else detail
