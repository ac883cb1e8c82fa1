"""The migration files as statements, for every way there is to run them.

Imports nothing but the standard library: an Alembic revision in somebody else's project, where `app` may
be another package, loads this module by its path.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

Layer = Literal["control", "shared", "tenant"]

LAYERS: Final[tuple[Layer, ...]] = ("control", "shared", "tenant")

# One lock for all upgrades and downgrades of a database: the first eight bytes of SHA-256 of
# "apg-bf-tenant-admin/upgrade", as a signed integer.
ADVISORY_LOCK: Final = int.from_bytes(hashlib.sha256(b"apg-bf-tenant-admin/upgrade").digest()[:8], "big", signed=True)

_FILE_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_SECTION: Final = re.compile(r"^-- section: (\w+)$", re.M)
# Sections of tenant files are what tenant_statement's CHECK allows; `rls` and `data` depend on settings.
_SECTIONS: Final[Mapping[Layer, frozenset[str]]] = {
    "control": frozenset({"control"}),
    "shared": frozenset({"shared", "roles", "tables", "rls", "grants", "functions", "data"}),
    "tenant": frozenset({"table", "index", "trigger", "rls", "grant"}),
}
_PLACEHOLDER: Final = re.compile(r"\{\{(\w+)(\|literal)?\}\}")
# What may hold a semicolon that ends no statement, and the one that does.
_TOKEN: Final = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"[^\"]*\"|\$(\w*)\$.*?\$\1\$|(;)", re.S)
_LEADING_COMMENTS: Final = re.compile(r"\A(?:\s+|--[^\n]*(?:\n|\Z))*")


class MigrationFileError(ValueError):
    """The files themselves are wrong: a gap, a duplicate, a name, a statement that may not stand there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the BF_* settings make of the files. The defaults are the guide's."""

    shared_schema: str = "bf_shared"
    app_role: str = "app_role"
    audit_role: str = "audit_role"
    create_roles: bool = True
    insert_default_data: bool = True
    enable_rls: bool = True
    tenant_roles: bool = False

    def __post_init__(self) -> None:
        """Raises MigrationFileError for names that cannot be meant."""
        if self.app_role == self.audit_role:
            raise MigrationFileError("BF_APP_ROLE and BF_AUDIT_ROLE name one role: as the latter it reads every tenant")
        if self.tenant_roles and not self.create_roles:
            raise MigrationFileError(
                "BF_TENANT_ROLES makes a role for each tenant, which BF_CREATE_ROLES=false forbids"
            )
        if "$function$" in self.shared_schema:
            raise MigrationFileError("BF_SCHEMA_NAME stands in function bodies and cannot hold $function$")

    def settings(self) -> dict[str, str]:
        """As the rows of bf_control.setting: booleans are `true` and `false`."""
        return {name: str(value).lower() if isinstance(value, bool) else value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    section: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file. `checksum` is the SHA-256 of its bytes, in hex; `statements` are not yet rendered."""

    layer: Layer
    version: int
    name: str
    checksum: str
    statements: tuple[Statement, ...]

    @property
    def path(self) -> str:
        return f"migrations/{self.layer}/{self.version:04}_{self.name}.sql"


def load(root: Path) -> tuple[Migration, ...]:
    """All files under `root`, layer by layer in the order in which they apply.

    Raises MigrationFileError where a layer's numbers are not 1, 2, 3 … without gap or duplicate.
    """
    return tuple(migration for layer in LAYERS for migration in _load_layer(root, layer))


def _load_layer(root: Path, layer: Layer) -> list[Migration]:
    migrations = [_load_file(path, layer) for path in sorted((root / layer).glob("*.sql"))]
    for expected, migration in enumerate(migrations, start=1):
        if migration.version < expected:
            raise MigrationFileError(f"{migration.path} repeats version {migration.version}")
        if migration.version > expected:
            raise MigrationFileError(f"migrations/{layer} has no version {expected}, but {migration.path}")
    if not migrations:
        raise MigrationFileError(f"no migrations in {root / layer}")
    return migrations


def _load_file(path: Path, layer: Layer) -> Migration:
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise MigrationFileError(f"{path} is not named NNNN_name.sql")
    content = path.read_bytes()
    statements = tuple(_statements(content.decode(), layer))
    if not statements:
        raise MigrationFileError(f"{path} holds no statement")
    for statement in statements:
        if statement.section not in _SECTIONS[layer]:
            raise MigrationFileError(f"{path}: there is no section {statement.section} in layer {layer}")
        if re.search(r"\bCONCURRENTLY\b", statement.text):
            raise MigrationFileError(f"{path}: CONCURRENTLY cannot run in a migration's transaction")
    return Migration(
        layer=layer,
        version=int(match[1]),
        name=match[2],
        checksum=hashlib.sha256(content).hexdigest(),
        statements=statements,
    )


def _statements(text: str, layer: Layer) -> Iterator[Statement]:
    parts = _SECTION.split(text)
    sections = [(layer, parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]
    for section, body in sections:
        for statement in split(body):
            yield Statement(section=section, text=statement)


def split(text: str) -> Iterator[str]:
    """The statements of `text`, each without its semicolon and the comments before it."""
    start = 0
    for token in _TOKEN.finditer(text):
        if token[2]:
            yield from _trimmed(text[start : token.start()])
            start = token.end()
    yield from _trimmed(text[start:])


def _trimmed(statement: str) -> Iterator[str]:
    trimmed = _LEADING_COMMENTS.sub("", statement).rstrip()
    if trimmed:
        yield trimmed


def quote_ident(name: str) -> str:
    """`name` as an SQL identifier, always in double quotes. Raises MigrationFileError for NUL or nothing."""
    if not name or "\0" in name or len(name.encode()) > 63:
        raise MigrationFileError(f"{name!r} cannot be the name of a schema or role")
    return '"' + name.replace('"', '""') + '"'


def quote_literal(value: str) -> str:
    """`value` as an SQL string constant (standard_conforming_strings is on by default since 9.1)."""
    if "\0" in value:
        raise MigrationFileError("a PostgreSQL string cannot hold NUL")
    prefix = "E" if "\\" in value else ""
    return prefix + "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def latest(migrations: Sequence[Migration]) -> dict[str, int]:
    """The highest version of each layer."""
    return {migration.layer: migration.version for migration in migrations}


def render(migration: Migration, target: Target) -> tuple[str, ...]:
    """What applies the file, its ledger row last. All of it belongs in one transaction."""
    body = _loading(migration) if migration.layer == "tenant" else _applying(migration, target)
    ledger = (
        "INSERT INTO bf_control.migration (layer, version, name, checksum) VALUES "
        f"({quote_literal(migration.layer)}, {migration.version}, {quote_literal(migration.name)}, "
        f"{quote_literal(migration.checksum)})"
    )
    return (*body, ledger)


def _loading(migration: Migration) -> tuple[str, ...]:
    """A tenant file is loaded, statement by statement, into the table that setup_tenant() reads.

    The lock waits for tenants that are being built: the upgrade that follows must see them.
    """
    lock = "LOCK TABLE bf_control.tenant_statement IN ACCESS EXCLUSIVE MODE"
    return lock, *(
        "INSERT INTO bf_control.tenant_statement (version, ordinal, section, statement) VALUES "
        f"({migration.version}, {ordinal}, {quote_literal(statement.section)}, {quote_literal(statement.text)})"
        for ordinal, statement in enumerate(migration.statements, start=1)
    )


def _applying(migration: Migration, target: Target) -> tuple[str, ...]:
    if migration.layer == "control":
        return tuple(statement.text for statement in migration.statements)
    skipped = {"rls": not target.enable_rls, "data": not target.insert_default_data}
    statements = tuple(
        _fill(statement.text, target) for statement in migration.statements if not skipped.get(statement.section, False)
    )
    if (migration.layer, migration.version) != ("shared", 1):
        return statements
    settings = tuple(
        f"INSERT INTO bf_control.setting (name, value) VALUES ({quote_literal(name)}, {quote_literal(value)})"
        for name, value in target.settings().items()
    )
    return (*settings, *statements)


def _fill(statement: str, target: Target, more: Mapping[str, str] | None = None) -> str:
    values = {
        **(more or {}),
        "shared": quote_ident(target.shared_schema),
        "app_role": quote_ident(target.app_role),
        "audit_role": quote_ident(target.audit_role),
        "create_roles": str(target.create_roles).lower(),
        "tenant_roles": str(target.tenant_roles).lower(),
        "app_role|literal": quote_literal(target.app_role),
        "audit_role|literal": quote_literal(target.audit_role),
        "shared_ident|literal": quote_literal(quote_ident(target.shared_schema)),
    }

    def value(match: re.Match[str]) -> str:
        key = match[1] + (match[2] or "")
        if key not in values:
            raise MigrationFileError(f"unknown placeholder {match[0]}")
        return values[key]

    return _PLACEHOLDER.sub(value, statement)


def opening() -> tuple[str, ...]:
    """What starts every upgrade and downgrade, inside its transaction: lock, then look who owns."""
    return (
        "SET LOCAL lock_timeout = '5s'",
        f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})",
        _OWNER_GUARD,
    )


_OWNER_GUARD: Final = """DO $guard$
DECLARE
    owner text := (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'bf_control');
BEGIN
    IF owner <> current_user THEN
        RAISE EXCEPTION 'bf_control belongs to %, you are %', quote_ident(owner), quote_ident(current_user)
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('Connect as %I, or SET ROLE %1$I first: one role owns all of it.', owner);
    END IF;
END
$guard$"""


def check_release(migrations: Sequence[Migration], target: Target) -> str:
    """Asks, once the ledger exists, whether settings and versions fit this database."""
    settings = quote_literal(json.dumps(target.settings()))
    versions = quote_literal(json.dumps(latest(migrations)))
    return f"SELECT bf_control.check_release({settings}, {versions})"


def is_pending(migration: Migration) -> str:
    """Asks, once the ledger exists, whether to apply the file; raises if it was edited since it was."""
    return (
        f"SELECT bf_control.migration_pending({quote_literal(migration.layer)}, {migration.version}, "
        f"{quote_literal(migration.name)}, {quote_literal(migration.checksum)})"
    )


# Only after LEDGER_EXISTS. A schema of the shared one's name that no migration of ours made is not ours.
SHARED_EXISTS: Final = "SELECT EXISTS (SELECT FROM bf_control.migration WHERE layer = 'shared')"
LEDGER_EXISTS: Final = "SELECT to_regclass('bf_control.migration') IS NOT NULL"


def outdated_tenants() -> str:
    """The ids of the tenants that a tenant migration has not reached yet."""
    return (
        "SELECT tenant_id FROM bf_control.tenant WHERE schema_version < "
        "(SELECT max(version) FROM bf_control.tenant_statement) ORDER BY tenant_id"
    )


def setup_tenant(target: Target) -> str:
    """Builds a tenant; takes id, name and creator as parameters."""
    return f"SELECT {quote_ident(target.shared_schema)}.setup_tenant($1, $2, $3)"


def upgrade_tenant(target: Target, tenant_id: str) -> str:
    """Brings one tenant along; belongs in a transaction of its own."""
    return f"SELECT {quote_ident(target.shared_schema)}.upgrade_tenant({quote_literal(tenant_id)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Down:
    """The files under down/: what takes one tenant, the shared schema and the service's own away again."""

    tenant: tuple[str, ...]
    shared: tuple[str, ...]
    control: tuple[str, ...]


def load_down(root: Path) -> Down:
    """The statements as they stand in the files, not yet rendered."""
    tenant, shared, control = (
        tuple(split((root / "down" / f"{layer}.sql").read_text(encoding="utf-8")))
        for layer in ("tenant", "shared", "control")
    )
    return Down(tenant=tenant, shared=shared, control=control)


def drop_tenant(down: Down, schema_name: str) -> tuple[str, ...]:
    """All of it belongs in one transaction, with what takes the tenant off the registry."""
    return tuple(statement.replace("{{schema}}", quote_ident(schema_name)) for statement in down.tenant)


def drop_shared(down: Down, target: Target) -> tuple[str, ...]:
    """For when no tenant is left; all of it in one transaction."""
    return tuple(_fill(statement, target) for statement in down.shared)


def drop_control(down: Down) -> tuple[str, ...]:
    """For when the shared schema is gone; all of it in one transaction."""
    return down.control


_DROPPED: Final = re.compile(r"(\{\{schema\}\}|\{\{shared\}\}|bf_control|bf_queue)\.(\w+)")


def fill_downgrade(statement: str, target: Target, down: Down) -> str:
    """A constant of downgrade_sql with this database's names in it, quoted."""
    schemas = {"{{schema}}": "", "{{shared}}": target.shared_schema}
    own: dict[str, set[str]] = {}
    for text in (*down.tenant, *down.shared, *down.control):
        for schema, name in _DROPPED.findall(text):
            own.setdefault(schemas.get(schema, schema), set()).add(name)
    names = json.dumps({schema: sorted(found) for schema, found in own.items()})
    shared = quote_literal(target.shared_schema)
    return _fill(statement, target, {"own|literal": quote_literal(names), "shared|literal": shared})


def psql(migrations: Sequence[Migration], target: Target) -> Iterator[str]:
    """The whole upgrade as lines for psql. It can be run again: what was applied is passed over."""
    yield "-- APG Budgeting & Forecasting: upgrade. Run it with psql, as the role that is to own everything:"
    yield '--   psql -X -d "$DATABASE_URL" -f upgrade.sql'
    yield "\\set ON_ERROR_STOP on"
    yield "\\set QUIET on"
    yield "BEGIN;"
    # SELECTs are for their effect here: what they return is no news.
    yield "\\o /dev/null"
    yield from (f"{statement};" for statement in opening())
    yield "\\o"
    first, *others = migrations
    yield f"{LEDGER_EXISTS} AS installed \\gset"
    yield "\\if :installed"
    yield "\\o /dev/null"
    yield f"{check_release(migrations, target)};"
    yield "\\o"
    yield f"{is_pending(first)} AS pending \\gset"
    yield "\\else"
    yield "\\set pending true"
    yield "\\endif"
    yield from _psql_step(first, target)
    for migration in others:
        yield f"{is_pending(migration)} AS pending \\gset"
        yield from _psql_step(migration, target)
    yield "COMMIT;"
    yield "-- Tenants that exist already, one transaction each."
    yield "SET lock_timeout = '5s';"
    yield (
        f"SELECT format('SELECT %I.upgrade_tenant(%L)', {quote_literal(target.shared_schema)}, o.tenant_id) "
        f"FROM ({outdated_tenants()}) o \\gexec"
    )
    yield "RESET lock_timeout;"
    yield "\\echo 'The schema is up to date.'"


def _psql_step(migration: Migration, target: Target) -> Iterator[str]:
    yield "\\if :pending"
    yield f"\\echo 'applying {migration.path}'"
    yield "\\o /dev/null"
    yield from (f"{statement};" for statement in render(migration, target))
    yield "\\o"
    yield "\\endif"
