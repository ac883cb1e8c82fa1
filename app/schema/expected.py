"""What a tenant's schema must look like, found out by building one.

Nobody writes the expected catalogue down: PostgreSQL 18 stores, and another major prints, things its own
way. A tenant is built from the files in a transaction that is rolled back, and remembered. It is built
without setup_tenant(), which it is there to judge.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from app.db.pool import Connection, Database
from app.errors import Transient
from app.schema import catalogue, queries
from app.schema.catalogue import Difference, Statements
from app.schema.script import Migration

# Seconds that an answer other than "as expected" is taken from a blueprint for. What a server makes of the files may
# change with its own settings, default privileges for one.
_FRESH: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blueprint:
    tenant_id: str
    schema_name: str
    ways_in: frozenset[str]
    lines: tuple[str, ...]
    statements: Mapping[str, Statements] = field(repr=False)
    built_at: float = field(default_factory=time.monotonic)

    def of(self, *, tenant_id: str, schema_name: str, closed: bool) -> dict[str, str]:
        """The tenant's lines, each with the blueprint's own. Its names are longer than, and no part of, anything else
        in the lines.

        `closed`: the way into the schema is missing of whoever works for the tenant, and nothing else.
        """
        return {
            line.replace(self.schema_name, schema_name).replace(self.tenant_id, tenant_id): line
            for line in self.lines
            if not (closed and line in self.ways_in)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """A tenant's catalogue beside the expected one.

    `lost` and `gained` are the lines that only one of them has, `found` is all lines of the kinds that differ;
    `fingerprint` is of all there is.
    """

    difference: Difference
    fingerprint: str
    lost: frozenset[str] = frozenset()
    gained: frozenset[str] = frozenset()
    found: frozenset[str] = frozenset()


class ExpectedTenants:
    """The expected catalogue of any tenant, by schema version. One instance per process and database."""

    def __init__(self, database: Database, migrations: Sequence[Migration]) -> None:
        self._database = database
        self._files = {m.version: m for m in migrations if m.layer == "tenant"}
        self._blueprints: dict[int, _Blueprint] = {}

    async def prepare(self, version: int, *, anew: bool = False) -> None:
        """Builds what difference() needs, in a transaction of its own; free when it is remembered, unless `anew`."""
        if anew or version not in self._blueprints:
            self._blueprints[version] = await self._build(version)

    def knows(self, version: int) -> bool:
        """Whether it is prepared."""
        return version in self._blueprints

    @property
    def prepared(self) -> bool:
        """Whether a version is remembered: likely the latest one, and where not, difference() raises Transient."""
        return bool(self._blueprints)

    def fresh(self, version: int) -> bool:
        """Whether the version was built a moment ago: what differs from it does so indeed."""
        blueprint = self._blueprints.get(version)
        return blueprint is not None and time.monotonic() - blueprint.built_at < _FRESH

    def forget(self) -> None:
        """After an upgrade or a downgrade."""
        self._blueprints.clear()

    async def difference(self, conn: Connection, *, tenant_id: str, schema_name: str, version: int) -> Difference:
        """What the catalogue, as this transaction sees it, has otherwise than it must in the tenant's state. Needs
        prepare(version).

        Raises Transient where that was another version: an upgrade has come in between.

        Leaves search_path at pg_catalog until the transaction ends.
        """
        found = await self.examine(conn, tenant_id=tenant_id, schema_name=schema_name, version=version)
        return found.difference

    async def examine(self, conn: Connection, *, tenant_id: str, schema_name: str, version: int) -> Examination:
        """As difference(). Of kinds of objects whose fingerprint is the expected one, nothing more is read."""
        blueprint = self._required(version)
        closed = await queries.closed(conn, tenant_id)
        expected = blueprint.of(tenant_id=tenant_id, schema_name=schema_name, closed=closed)
        wanted, found = catalogue.fingerprints_of(expected), await catalogue.fingerprints(conn, schema_name)
        whole = catalogue.fingerprint(found)
        kinds = {kind for kind in wanted.keys() | found.keys() if wanted.get(kind) != found.get(kind)}
        if not kinds:
            return Examination(difference=Difference(), fingerprint=whole)
        actual = frozenset(await catalogue.read(conn, schema_name, kinds) or ())
        lines = frozenset(line for line in expected if line.partition("\t")[0] in kinds)
        return Examination(
            difference=catalogue.compare(expected=tuple(lines), actual=tuple(actual)),
            fingerprint=whole,
            lost=lines - actual,
            gained=actual - lines,
            found=actual,
        )

    async def statements(
        self, conn: Connection, lines: Collection[str], *, tenant_id: str, schema_name: str, version: int
    ) -> dict[str, Statements]:
        """By which each of these expected lines becomes true. Needs prepare(version)."""
        blueprint = self._required(version)
        origin = blueprint.of(tenant_id=tenant_id, schema_name=schema_name, closed=False)
        return {
            line: await queries.for_tenant(
                conn,
                blueprint.statements[origin[line]],
                names=(blueprint.schema_name, schema_name, blueprint.tenant_id, tenant_id),
            )
            for line in lines
        }

    def _required(self, version: int) -> _Blueprint:
        blueprint = self._blueprints.get(version)
        if blueprint is None:
            self.forget()
            raise Transient("Another version of the schema arrived meanwhile.", sqlstate="40001")
        return blueprint

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
        making = await catalogue.statements(conn, schema_name)
        admitted = await queries.admitted(conn, tenant_id)
        return _Blueprint(
            tenant_id=tenant_id,
            schema_name=schema_name,
            ways_in=frozenset(f"schema grant\t\tUSAGE to {role}" for role in admitted),
            lines=tuple(sorted(making)),
            statements=making,
        )
