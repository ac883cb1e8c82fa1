"""A schema's catalogue in normalised form, and how it differs from another.

A line stands for one fact: `kind⟶object⟶definition`. Lines hold no OID, and are looked up by index:
anything that filters pg_class by its namespace alone costs as much as all tenants together.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.db.pool import Connection
from app.schema.catalogue_sql import FACTS

# $2: of which kinds, or of all where it is NULL.
_LINES: Final = (
    "WITH"  # noqa: S608 -- constants
    + FACTS
    + r"""
SELECT kind || E'\t' || object || E'\t' || coalesce(definition, '')
  FROM fact WHERE $2::text[] IS NULL OR kind = ANY ($2)
"""
)
# As fingerprints() does it; the order of bytes is the one in which Python sorts text too.
_FINGERPRINTS: Final = (
    "WITH"  # noqa: S608 -- constants
    + FACTS
    + r"""
SELECT l.kind, encode(sha256(convert_to(string_agg(l.line, E'\n' ORDER BY l.line COLLATE "C"), 'UTF8')), 'hex')
  FROM (SELECT f.kind, f.kind || E'\t' || f.object || E'\t' || coalesce(f.definition, '') AS line FROM fact f) AS l
 GROUP BY l.kind
"""
)
_STATEMENTS: Final = (
    "WITH"  # noqa: S608 -- constants
    + FACTS
    + r"""
SELECT kind || E'\t' || object || E'\t' || coalesce(definition, '') AS line, ordinal, make, finish, unmake, aside
  FROM fact WHERE $2::text[] IS NULL OR kind = ANY ($2)
"""
)

# Right after its tenants were made, a catalogue's statistics are old: where the planner thinks it small it
# reads all of it, which is every tenant's share. The indexes are there; this makes it use them. It is planned
# once for all tenants, as planning takes longer than reading.
_PREPARE: Final = """
SELECT set_config('search_path', 'pg_catalog', true), set_config('enable_seqscan', 'off', true),
       set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('jit', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """An object that is not as expected: what is `expected` of it and not so, and what is `actual` instead."""

    kind: str
    name: str
    expected: str | None = None
    actual: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`altered` objects exist on both sides, with another definition."""

    missing: tuple[Drift, ...] = ()
    extra: tuple[Drift, ...] = ()
    altered: tuple[Drift, ...] = ()

    @property
    def ok(self) -> bool:
        return not (self.missing or self.extra or self.altered)

    def summary(self, *, limit: int = 5) -> str:
        parts = []
        for label, found in (("missing", self.missing), ("extra", self.extra), ("altered", self.altered)):
            if found:
                more = f" and {len(found) - limit} more" if len(found) > limit else ""
                parts.append(f"{label}: {', '.join(map(str, found[:limit]))}{more}")
        return "; ".join(parts) or "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """What makes a fact true, and what ends it; None where another fact's statement does, or none can.

    `finish` comes after `make`, and may be refused by the rows. `aside` drops and makes an index that is in use,
    outside of a transaction.
    """

    ordinal: int
    make: str | None
    finish: str | None
    unmake: str | None
    aside: tuple[str, ...]


async def read(conn: Connection, schema_name: str, kinds: Collection[str] | None = None) -> tuple[str, ...] | None:
    """The schema's lines, sorted, of some kinds or all; None where there is no such schema.

    Leaves search_path and planner settings changed until the transaction ends: call it last, or in one of its own.
    """
    await conn.execute(_PREPARE)
    rows = await conn.fetch(_LINES, schema_name, None if kinds is None else list(kinds))
    # Its owner is a line, so a schema that is there has one.
    return tuple(sorted(row[0] for row in rows)) or None


async def fingerprints(conn: Connection, schema_name: str) -> dict[str, str]:
    """Of the lines of each kind, made by PostgreSQL. Leaves settings behind as read() does."""
    await conn.execute(_PREPARE)
    return {row[0]: row[1] for row in await conn.fetch(_FINGERPRINTS, schema_name)}


def fingerprints_of(lines: Iterable[str]) -> dict[str, str]:
    """The same of lines that are here."""
    by_kind: dict[str, list[str]] = {}
    for line in lines:
        by_kind.setdefault(line.partition("\t")[0], []).append(line)
    return {kind: hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest() for kind, found in by_kind.items()}


def fingerprint(by_kind: Mapping[str, str]) -> str:
    """Of the whole."""
    return hashlib.sha256("\n".join(f"{kind} {by_kind[kind]}" for kind in sorted(by_kind)).encode()).hexdigest()


async def statements(conn: Connection, schema_name: str, kinds: Collection[str] | None = None) -> dict[str, Statements]:
    """By line, as PostgreSQL writes them. Leaves settings behind as read() does."""
    await conn.execute(_PREPARE)
    return {
        row["line"]: Statements(
            ordinal=row["ordinal"],
            make=row["make"],
            finish=row["finish"],
            unmake=row["unmake"],
            aside=tuple(row["aside"] or ()),
        )
        for row in await conn.fetch(_STATEMENTS, schema_name, None if kinds is None else list(kinds))
    }


def compare(*, expected: Sequence[str], actual: Sequence[str]) -> Difference:
    """What `actual` lacks, has too much, or has otherwise than `expected`."""
    wanted, found = set(expected), set(actual)
    if wanted == found:
        return Difference()
    known, there = _objects(wanted), _objects(found)
    lost, gained = _objects(wanted - found), _objects(found - wanted)
    drifts = {key: _drift(key, lost.get(key), gained.get(key)) for key in sorted(lost.keys() | gained.keys())}
    return Difference(
        missing=tuple(drift for key, drift in drifts.items() if key not in there),
        extra=tuple(drift for key, drift in drifts.items() if key not in known),
        altered=tuple(drift for key, drift in drifts.items() if key in known and key in there),
    )


def key_of(line: str) -> tuple[str, str]:
    """Kind and name of the object. A grant is told by what it grants too."""
    kind, name, definition = line.split("\t", 2)
    return (kind, f"{name} {definition}") if kind.endswith("grant") else (kind, name)


def _objects(lines: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for line in sorted(lines):
        found.setdefault(key_of(line), []).append(line.split("\t", 2)[2])
    return found


def _drift(key: tuple[str, str], expected: list[str] | None, actual: list[str] | None) -> Drift:
    return Drift(
        kind=key[0],
        name=key[1],
        expected=None if expected is None else "; ".join(expected),
        actual=None if actual is None else "; ".join(actual),
    )
