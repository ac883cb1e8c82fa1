"""APG Budgeting & Forecasting: the whole schema; tenants that exist already are brought along.

Works where it is, and copied into the versions folder of a project that has apg-bf-tenant-admin installed:

    pip install '/path/to/the/clone[alembic]'      # or its git URL: it is on no package index
    alembic upgrade bf001_complete_2025
    alembic -x confirm=DATABASE downgrade base     # destroys all tenants

It brings what the installed release holds, and reads the BF_* variables as bf-admin does. What a later
release adds, `bf-admin upgrade` applies. Never imports `app`: in that project it may be another package.

Revision ID: bf001_complete_2025
Revises:
"""

import contextlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import shlex
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from alembic import context, op
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

revision: str = "bf001_complete_2025"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

_DISTRIBUTION = "apg-bf-tenant-admin"
_log = logging.getLogger("alembic.bf001")


def upgrade() -> None:
    """The files in Alembic's transaction; then, if tenants are behind, each of them in one of its own."""
    _refuse_offline("upgrade")
    release = _Release()
    target, migrations = release.target, release.migrations
    with release.transaction():
        if _value(release.script.LEDGER_EXISTS):
            _run(release.script.check_release(migrations, target))
        for migration in migrations:
            if not _value(release.script.LEDGER_EXISTS) or _value(release.script.is_pending(migration)):
                for statement in release.script.render(migration, target):
                    _run(statement)
                _log.info("applied %s", migration.path)
    outdated = [row[0] for row in _run(release.script.outdated_tenants())]
    if outdated:
        with _autocommit():
            _upgrade_tenants(release, outdated)


def _upgrade_tenants(release: "_Release", tenant_ids: list[str]) -> None:
    """One tenant's failure stops no other."""
    failed = []
    for tenant_id in tenant_ids:
        try:
            with release.transaction():
                _run(release.script.upgrade_tenant(release.target, tenant_id))
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            failed.append(f"{tenant_id}: {str(error.orig).strip()}")
    if failed:
        raise CommandError(
            f"{len(failed)} of {len(tenant_ids)} tenants were not upgraded; mend this and run it again:\n"
            + "\n".join(failed)
        )


def downgrade() -> None:
    """Destroys all tenants, each in a transaction of its own, and the rest together with Alembic's record.

    Stopped half-way, it can be run again. Nothing is dropped with CASCADE: what somebody else keeps in a
    tenant's schema, or hangs on its tables, makes PostgreSQL refuse, before anything is gone.
    """
    _refuse_offline("downgrade")
    release = _Release()
    confirmed = context.get_x_argument(as_dictionary=True).get("confirm")
    database = _value(release.sql.DATABASE)
    with release.transaction():
        installed = _value(release.script.LEDGER_EXISTS)
        if installed:
            _run(release.script.check_release(release.migrations, release.target))
        blockers = _run(release.fill(release.sql.BLOCKERS)) if installed else []
        if confirmed != database:
            raise CommandError(_plan(release, database, installed, blockers))
        tenants = [row.tenant_id for row in _run(release.sql.TENANTS)] if installed else []
    others = [row.blocker for row in blockers if row.tenant_id is None]
    if others:
        raise CommandError("Nothing was dropped, because first these have to go:\n" + "\n".join(others))
    if tenants:
        # A tenant that PostgreSQL is going to refuse comes first, while all others are still there.
        blocked = {row.tenant_id for row in blockers}
        with _autocommit():
            for tenant_id in sorted(tenants, key=lambda tenant_id: (tenant_id not in blocked, tenant_id)):
                with release.transaction():
                    _drop_tenant(release, tenant_id)
    with release.transaction():
        _drop_the_rest(release)


def _plan(release: "_Release", database: str, installed: bool, blockers: list[Any]) -> str:
    sizes = _run(release.sql.SIZES) if installed else []
    lines = [f"A downgrade destroys, for good, in database {database}:"]
    lines += [f"  tenant {row.tenant_id}, schema {row.schema_name}, {row.bytes:,} bytes" for row in sizes]
    lines.append(f"  schemas {release.target.shared_schema}, bf_control and bf_queue")
    roles = f"{release.target.app_role} and {release.target.audit_role}"
    lines.append(f"  roles {roles}, unless something else needs them")
    if blockers:
        lines.append("These are in its way, and have to go first:")
        lines += [f"  {row.blocker}" for row in blockers]
    option = shlex.quote(f"confirm={database}")
    lines.append(f"Nothing was dropped. To go ahead: alembic -x {option} downgrade …")
    return "\n".join(lines)


def _drop_tenant(release: "_Release", tenant_id: str) -> None:
    literal = release.script.quote_literal(tenant_id)
    row = _run(
        "SELECT schema_name::text, schema_version IS NOT NULL AS built "  # noqa: S608 - quoted by the helper
        f"FROM bf_control.tenant WHERE tenant_id = {literal} FOR UPDATE"
    )
    if not row:
        return
    if row[0].built:  # else a schema of that name would be somebody else's
        for statement in release.script.drop_tenant(release.down, row[0].schema_name):
            _run(statement)
        shared = release.script.quote_ident(release.target.shared_schema)
        _run(f"DELETE FROM {shared}.tenant_config WHERE tenant_id = {literal}")  # noqa: S608 - quoted by the helper
    _run(f"DELETE FROM bf_control.tenant WHERE tenant_id = {literal}")  # noqa: S608 - quoted by the helper
    _log.info("dropped tenant %s", tenant_id)


def _drop_the_rest(release: "_Release") -> None:
    """Shared schema, the service's own, and the roles that nothing else needs."""
    if _value(release.script.LEDGER_EXISTS):
        _run("LOCK TABLE bf_control.tenant IN ACCESS EXCLUSIVE MODE")
        if _run(release.sql.TENANTS):
            raise CommandError("A tenant was made meanwhile: stop the service, and run the downgrade again.")
        if _value(release.script.SHARED_EXISTS):
            for statement in release.script.drop_shared(release.down, release.target):
                _run(statement)
        for statement in release.script.drop_control(release.down):
            _run(statement)
    for row in _run(release.fill(release.sql.ROLES)):
        reason = row.reason or _drop_role(release.script.quote_ident(row.role_name))
        if reason:
            # Not logged: an alembic.ini without a logging section would show nothing of it.
            context.config.print_stdout("%s", f"role {row.role_name} stays: {reason}")


def _drop_role(quoted: str) -> str | None:
    """Why it could not be dropped: somebody may have begun to use it since the question was asked."""
    _run("SAVEPOINT bf001_role")
    try:
        _run(f"DROP ROLE {quoted}")
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        _run("ROLLBACK TO SAVEPOINT bf001_role")
        return str(error.orig).strip()
    _run("RELEASE SAVEPOINT bf001_role")
    return None


def _refuse_offline(direction: str) -> None:
    if context.is_offline_mode():
        mend = "As a script for psql: bf-admin sql upgrade" if direction == "upgrade" else "Leave --sql out"
        raise CommandError(f"{revision} asks the database what it has, so --sql cannot write it. {mend}.")


def _run(statement: str) -> list[Any]:
    """Sent as it stands on every driver: per cent signs and colons mean nothing."""
    result = op.get_bind().exec_driver_sql(statement, execution_options={"no_parameters": True})
    return list(result) if result.returns_rows else []


def _value(statement: str) -> Any:
    return _run(statement)[0][0]


@contextlib.contextmanager
def _autocommit() -> Iterator[None]:
    """Alembic commits what it has, and lets go of its transaction meanwhile."""
    alembic, bind = op.get_context(), op.get_bind()
    if bind.in_transaction() and getattr(alembic, "_transaction", bind) is None:
        raise CommandError(
            "Tenants need a transaction each, but env.py began one that Alembic cannot commit. Hand it a "
            "connection as it comes from engine.connect(), and use context.begin_transaction()."
        )
    with alembic.autocommit_block():
        yield


class _Release:
    """The installed release's SQL files, and what the BF_* variables make of them."""

    def __init__(self) -> None:
        code, migrations = _find()
        self.script = _load("script", code / "script.py")
        self.sql = _load("downgrade_sql", code / "downgrade_sql.py")
        self.migrations = self.script.load(migrations)
        self.down = self.script.load_down(migrations)
        self.target = self.script.Target(**_settings())
        self.fill = partial(self.script.fill_downgrade, target=self.target, down=self.down)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Alembic's where there is one, else one of its own; lock_timeout is left as it was found."""
        _run("SELECT set_config('bf001.probe', 'on', true)")
        own = _value("SELECT coalesce(current_setting('bf001.probe', true), '') <> 'on'")
        if own:
            _run("BEGIN")
        try:
            found = _value("SELECT current_setting('lock_timeout')")
            for statement in self.script.opening():
                _run(statement)
            yield
            _run(f"SELECT set_config('lock_timeout', {self.script.quote_literal(found)}, true)")
            if own:
                _run("COMMIT")
        except BaseException:
            if own:
                with contextlib.suppress(Exception):  # the first error is the one to tell
                    _run("ROLLBACK")
            raise


def _settings() -> dict[str, str | bool]:
    """As bf-admin reads them: what is not set, or empty, is the default."""
    names = {"shared_schema": "BF_SCHEMA_NAME", "app_role": "BF_APP_ROLE", "audit_role": "BF_AUDIT_ROLE"}
    flags = ("create_roles", "insert_default_data", "enable_rls", "tenant_roles")
    settings: dict[str, str | bool] = {}
    for field, variable in names.items():
        if value := os.environ.get(variable):
            if value.startswith("pg_") or len(value.encode()) > 63:
                raise CommandError(f"{variable}={value}: 1 to 63 bytes, and no pg_ in front")
            settings[field] = value
    for field in flags:
        variable = f"BF_{field.upper()}"
        if value := os.environ.get(variable):
            settings[field] = _boolean(variable, value)
    return settings


def _boolean(variable: str, value: str) -> bool:
    if value.lower() in ("true", "1", "yes", "on"):
        return True
    if value.lower() in ("false", "0", "no", "off"):
        return False
    raise CommandError(f"{variable}={value}: true or false")


def _find() -> tuple[Path, Path]:
    """The directories of script.py and of the SQL files: this checkout's, else the installed package's."""
    for code, migrations in _places():
        files = (code / "script.py", code / "downgrade_sql.py", migrations / "control", migrations / "down")
        if all(file.exists() for file in files):
            return code, migrations
    raise CommandError(f"{revision} finds no SQL to run: pip install '/path/to/the/clone of {_DISTRIBUTION}[alembic]'")


def _places() -> Iterator[tuple[Path, Path]]:
    migrations = Path(__file__).resolve().parent.parent
    yield migrations.parent / "app" / "schema", migrations
    try:
        distribution = importlib.metadata.distribution(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return
    package = Path(str(distribution.locate_file("app")))
    yield package / "schema", package / "migrations"
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        checkout = Path(url2pathname(urlsplit(origin["url"]).path))
        yield checkout / "app" / "schema", checkout / "migrations"


def _load(name: str, path: Path) -> ModuleType:
    """By its path, under a name that no other package has."""
    private = f"_apg_bf_tenant_admin_{name}"
    spec = importlib.util.spec_from_file_location(private, path)
    if spec is None or spec.loader is None:
        raise CommandError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[private] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module
