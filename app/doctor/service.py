"""All checks, one by one: one that cannot be made hinders no other."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from app.db.pool import Database
from app.doctor import capacity, installation, queries, roles, server, tools
from app.doctor.address import Address
from app.doctor.connecting import no_connection
from app.doctor.model import Finding, Report, failed, not_checked, passed, warned
from app.doctor.pooler import Pooling, pooling
from app.doctor.queries import Place
from app.doctor.subject import Subject
from app.errors import AppError, Transient, Unavailable
from app.settings import Settings

_PATIENCE: Final = 5.0  # seconds for a connection

Check: TypeAlias = Callable[[Subject], Awaitable[Finding]]

_CHECKS: Final[Mapping[str, Check]] = {
    "server_version": server.server_version,
    "tls": server.tls,
    "connected_role": roles.connected_role,
    "create_on_database": roles.create_on_database,
    "create_on_public": roles.create_on_public,
    "createrole": roles.createrole,
    "audit_role": roles.audit_role,
    "rls_bypass": roles.rls_bypass,
    "owner": installation.owner,
    "schema": installation.schema,
    "settings": installation.settings,
    "row_security": installation.row_security,
    "tenants": installation.tenants,
    "lock_table": capacity.lock_table,
    "connections": capacity.connections,
    "extensions": server.extensions,
    "pg_stat_statements": server.pg_stat_statements,
    "pg_monitor": roles.pg_monitor,
    "pg_dump": tools.pg_dump,
}


async def examine(settings: Settings) -> Report:
    """Raises ValueError where there is no URL to connect with, or one that is none."""
    checks: dict[str, Finding] = {}
    address = Address.of("DATABASE_URL", settings.dsn())
    checks["database_url"] = _named(address)
    if settings.direct_database_url is None:
        await _examine(settings, address, settings.dsn(), checks)
    else:
        place = await _application(address, settings.dsn(), checks)
        direct = Address.of("BF_DIRECT_DATABASE_URL", settings.direct_dsn())
        await _examine(settings, direct, settings.direct_dsn(), checks, application=place)
    for name in ("pooler", *_CHECKS):
        checks.setdefault(name, not_checked("there is no connection"))
    return Report(checks=checks)


def _named(address: Address) -> Finding:
    if address.user and address.database:
        return passed(str(address))
    why = "what it leaves out comes from PGUSER, PGDATABASE, or who you are here"
    return warned(str(address), why, address.template(user=address.user or "USER"))


async def _application(address: Address, dsn: str, checks: dict[str, Finding]) -> Place | None:
    """DATABASE_URL where DDL takes another one: a pooler is welcome here."""
    async with _database(dsn) as database:
        try:
            place, how = await _look(database)
        except AppError as error:
            checks["application_connection"] = no_connection(error, address)
            return None
    observed = "straight to the server" if how is Pooling.NONE else f"a pooler, by {how}"
    checks["application_connection"] = passed(f"{address.variable}: {observed}")
    return place


async def _examine(
    settings: Settings, address: Address, dsn: str, checks: dict[str, Finding], *, application: Place | None = None
) -> None:
    async with _database(dsn) as database:
        try:
            place, how = await _look(database)
            checks["connection"] = _same(address, place, application)
            checks["pooler"] = server.pooler(address, how, place)
            for name, check in _CHECKS.items():
                checks[name] = await _one(database, check, settings, address)
        except AppError as error:
            checks["connection"] = no_connection(error, address)


async def _look(database: Database) -> tuple[Place, Pooling]:
    async with database.transaction() as conn:
        place = await queries.place(conn)
    async with database.connection() as conn:
        return place, await pooling(database, conn)


def _same(address: Address, place: Place, application: Place | None) -> Finding:
    observed = f"database {place.database}, server started {place.started}"
    if application is None or (application.database, application.started) == (place.database, place.started):
        return passed(observed)
    why = f"DATABASE_URL leads to another one: database {application.database}, server started {application.started}"
    return failed(observed, why, f"unset {address.variable}")


async def _one(database: Database, check: Check, settings: Settings, address: Address) -> Finding:
    """Raises AppError where the connection is gone, and with it all further checks."""
    try:
        async with database.transaction() as conn:
            return await check(Subject(conn=conn, settings=settings, address=address))
    except AppError as error:
        if isinstance(error, Unavailable) or (isinstance(error, Transient) and error.connection_lost):
            raise
        return not_checked(error.detail)


def _database(dsn: str) -> Database:
    """Without what the service sends at login, which a pooler may refuse: it is to be found, and named."""
    return Database(
        dsn,
        max_size=2,
        application_name="bf-admin doctor",
        acquire_timeout=_PATIENCE,
        statement_cache=False,
        command_timeout=10.0,
    )
