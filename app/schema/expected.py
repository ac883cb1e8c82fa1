"""What a tenant's schema must look like, found out by building one.

Nobody writes the expected catalogue down: PostgreSQL 18 stores, and another major prints, things its own
way. A tenant is built from the files in a transaction that is rolled back, and remembered. It is built
without setup_tenant(), which it is there to judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.db.pool import Connection, Database
from app.errors import Transient
from app.schema import catalogue, queries
from app.schema.script import Migration


@dataclass(frozen=True, slots=True)
class _Blueprint:
    tenant_id: str
    schema_name: str
    ways_in: frozenset[str]
    lines: tuple[str, ...]

    def of(self, *, tenant_id: str, schema_name: str, closed: bool) -> tuple[str, ...]:
        """The blueprint's own names are longer than, and no part of, anything else in the lines.

        `closed`: the way into the schema is missing of whoever works for the tenant, and nothing else.
        """
        return tuple(
            line.replace(self.schema_name, schema_name).replace(self.tenant_id, tenant_id)
            for line in self.lines
            if not (closed and line in self.ways_in)
        )


class ExpectedTenants:
    """The expected catalogue of any tenant, by schema version. One instance per process and database."""

    def __init__(self, database: Database, migrations: Sequence[Migration]) -> None:
        self._database = database
        self._files = {m.version: m for m in migrations if m.layer == "tenant"}
        self._blueprints: dict[int, _Blueprint] = {}

    async def prepare(self, version: int) -> None:
        """Builds what difference() needs, in a transaction of its own; free when it is remembered."""
        if version not in self._blueprints:
            self._blueprints[version] = await self._build(version)

    @property
    def prepared(self) -> bool:
        """Whether a version is remembered: likely the latest one, and where not, difference() raises Transient."""
        return bool(self._blueprints)

    def forget(self) -> None:
        """After an upgrade or a downgrade."""
        self._blueprints.clear()

    async def difference(
        self, conn: Connection, *, tenant_id: str, schema_name: str, version: int
    ) -> catalogue.Difference:
        """What the catalogue, as this transaction sees it, has otherwise than it must in the tenant's state. Needs
        prepare(version).

        Raises Transient where that was another version: an upgrade has come in between.

        Leaves search_path at pg_catalog until the transaction ends.
        """
        blueprint = self._blueprints.get(version)
        if blueprint is None:
            self.forget()
            raise Transient("Another version of the schema arrived meanwhile.", sqlstate="40001")
        closed = await queries.closed(conn, tenant_id)
        expected = blueprint.of(tenant_id=tenant_id, schema_name=schema_name, closed=closed)
        actual = await catalogue.read(conn, schema_name)
        return catalogue.compare(expected=expected, actual=actual or ())

    async def _build(self, version: int) -> _Blueprint:
        async with self._database.connection() as conn:
            transaction = conn.transaction()
            await transaction.start()
            try:
                return await self._build_in(conn, version)
            finally:
                await transaction.rollback()

    async def _build_in(self, conn: Connection, version: int) -> _Blueprint:
        tenant_id = await queries.blueprint_tenant_id(conn)
        schema_name = f"bf_{tenant_id}"
        statements: list[tuple[str, str]] = []
        for number in range(1, version + 1):
            # A worker may meet a database that is one release ahead: what it has no file for, it takes
            # from the table.
            file = self._files.get(number)
            statements += (
                [(s.section, s.text) for s in file.statements]
                if file is not None
                else await queries.loaded_statements(conn, number)
            )
        await queries.build_blueprint(conn, tenant_id=tenant_id, schema_name=schema_name, statements=statements)
        lines = await catalogue.read(conn, schema_name)
        admitted = await queries.admitted(conn, tenant_id)
        ways_in = frozenset(f"schema grant\t\tUSAGE to {role}" for role in admitted)
        return _Blueprint(tenant_id, schema_name, ways_in, lines or ())
