"""Putting a tenant's schema right: from what differs to the statements that mend it, and running them.

What PostgreSQL shows afterwards decides what was mended; that a statement ran proves nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from app.db.pool import Connection, Database
from app.schema import catalogue, mending_queries
from app.schema.catalogue import Difference, Drift, Statements, key_of
from app.schema.expected import Examination, ExpectedTenants
from app.schema.mending_queries import Guard

Key = tuple[str, str]

# Mending one thing may need another out of its way, which is put back the next time round.
_ROUNDS: Final = 4
# Whoever has added one of these has opened the tenant's rows to somebody, or changes what is written to them. They
# hold no data.
_ALWAYS_REMOVED: Final = frozenset(
    {"schema grant", "relation grant", "column grant", "function grant", "policy", "rule"}
)
# Of each there is one fact: another one is dropped and made anew.
_WHOLE: Final = frozenset({"constraint", "index", "trigger", "policy", "function", "view", "rule"})
_FORCED: Final = "row security forced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The schema to be mended, and the version of which it must be."""

    tenant_id: str
    schema_name: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Statements that together mend one thing. `finish` may be refused without undoing them.

    With `sees_rows` the owner must see them. `aside`: not in a transaction.
    """

    key: Key
    stage: int
    ordinal: int = 0
    statements: tuple[str, ...]
    finish: str | None = None
    guard: Guard | None = None
    sees_rows: bool = False
    aside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`kept` is what somebody has added, and nobody has asked to drop."""

    actions: tuple[Action, ...]
    kept: tuple[Drift, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What was not as expected `before`, and what of it still is not; `refused` says why, by object."""

    before: Difference
    after: Difference
    kept: tuple[Drift, ...]
    fingerprint: str
    refused: Mapping[Key, str] = field(default_factory=dict)
    aside: tuple[Action, ...] = ()

    @property
    def left(self) -> tuple[Drift, ...]:
        """What should have been mended."""
        keys = {_key(drift) for drift in self.kept}
        return tuple(drift for drift in _all(self.after) if _key(drift) not in keys)

    def mended(self) -> dict[str, list[Drift]]:
        """By what became of it."""
        still = {_key(drift) for drift in _all(self.after)}
        found = (("made", self.before.missing), ("removed", self.before.extra), ("altered", self.before.altered))
        return {verb: [drift for drift in drifts if _key(drift) not in still] for verb, drifts in found}


def _key(drift: Drift) -> Key:
    return drift.kind, drift.name


def _all(difference: Difference) -> tuple[Drift, ...]:
    return (*difference.missing, *difference.extra, *difference.altered)


async def examine(conn: Connection, expected: ExpectedTenants, subject: Subject) -> Examination:
    return await expected.examine(
        conn, tenant_id=subject.tenant_id, schema_name=subject.schema_name, version=subject.version
    )


async def mend(conn: Connection, expected: ExpectedTenants, subject: Subject, *, drop_extra: bool = False) -> Repair:
    """All that a transaction can, in the caller's. Needs expected.prepare(), and the tenant's row locked.

    What is left to be done `aside` is what takes long on tables in use. Raises Transient, with which all of it is to
    be rolled back and tried again. Leaves settings behind until the transaction ends.
    """
    await mending_queries.begin(conn, subject.tenant_id)
    first = seen = await examine(conn, expected, subject)
    refused: dict[Key, str] = {}
    lifted: dict[str, str] = {}
    for _ in range(_ROUNDS):
        if seen.difference.ok:
            break
        actions = [a for a in (await plan(conn, expected, subject, seen, drop_extra=drop_extra)).actions if not a.aside]
        if any(action.sees_rows for action in actions):
            lifted |= await _lift(conn, subject)
        refused = {}
        done = [await _attempt(conn, action, refused) for action in actions]
        seen = await examine(conn, expected, subject)
        if not any(done):
            break
    if lifted:
        await mending_queries.attempt(conn, list(lifted.values()))
        seen = await examine(conn, expected, subject)
    rest = await plan(conn, expected, subject, seen, drop_extra=drop_extra)
    return Repair(
        before=first.difference,
        after=seen.difference,
        kept=rest.kept,
        fingerprint=seen.fingerprint,
        refused=refused,
        aside=tuple(action for action in rest.actions if action.aside),
    )


async def mend_aside(database: Database, repair: Repair) -> dict[Key, str]:
    """Builds the indexes that are left, each concurrently; returns those that were refused, and why."""
    refused = dict(repair.refused)
    for action in repair.aside:
        reason = await mending_queries.aside(database, action.statements)
        if reason is not None:
            refused[action.key] = reason
    return refused


async def conclude(
    conn: Connection,
    expected: ExpectedTenants,
    subject: Subject,
    repair: Repair,
    refused: Mapping[Key, str],
    *,
    drop_extra: bool,
) -> Repair:
    """The repair as the catalogue shows it now."""
    seen = await examine(conn, expected, subject)
    kept = () if seen.difference.ok else (await plan(conn, expected, subject, seen, drop_extra=drop_extra)).kept
    return replace(
        repair, after=seen.difference, kept=kept, fingerprint=seen.fingerprint, refused=dict(refused), aside=()
    )


async def _attempt(conn: Connection, action: Action, refused: dict[Key, str]) -> bool:
    reason = await mending_queries.attempt(conn, action.statements, guard=action.guard)
    done = reason is None
    if done and action.finish is not None:
        reason = await mending_queries.attempt(conn, [action.finish])
    if reason is not None:
        refused.setdefault(action.key, reason)
    return done


async def _lift(conn: Connection, subject: Subject) -> dict[str, str]:
    """Lets the owner see the rows; returns, by line, what ends that. Nobody else sees it before the commit."""
    facts = await catalogue.statements(conn, subject.schema_name, {"relation"})
    forced = {line: fact for line, fact in facts.items() if line.endswith(f"\t{_FORCED}")}
    lifted = {}
    for line, fact in forced.items():
        if fact.unmake and fact.make and await mending_queries.attempt(conn, [fact.unmake]) is None:
            lifted[line] = fact.make
    return lifted


async def plan(
    conn: Connection, expected: ExpectedTenants, subject: Subject, seen: Examination, *, drop_extra: bool
) -> Plan:
    """What mends the difference, in order; nothing is done."""
    if seen.difference.ok:
        return Plan(actions=(), kept=())
    making = await expected.statements(
        conn, seen.lost, tenant_id=subject.tenant_id, schema_name=subject.schema_name, version=subject.version
    )
    planner = _Planner(
        conn=conn,
        subject=subject,
        seen=seen,
        making=making,
        there=await catalogue.statements(conn, subject.schema_name),
        used=await mending_queries.used(conn, subject.schema_name),
        drop_extra=drop_extra,
    )
    actions, kept = await planner.run()
    return Plan(actions=tuple(sorted(actions, key=lambda a: (a.stage, a.ordinal, a.key))), kept=kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planner:
    """`making` has the statements for lines that are lost, `there` those of all that the schema has."""

    conn: Connection
    subject: Subject
    seen: Examination
    making: Mapping[str, Statements]
    there: Mapping[str, Statements]
    used: set[str]
    drop_extra: bool

    async def run(self) -> tuple[list[Action], tuple[Drift, ...]]:
        difference = self.seen.difference
        lost, gained = _by_key(self.seen.lost), _by_key(self.seen.gained)
        actions: list[Action] = []
        if any(drift.kind == "schema" for drift in difference.missing):
            create = await mending_queries.create_schema(self.conn, self.subject.schema_name)
            actions.append(Action(key=("schema", ""), stage=-1, statements=(create,)))
        for drift in difference.missing:
            actions += self._made(lost[_key(drift)])
        for drift in difference.altered:
            key = _key(drift)
            actions += await self._altered(key, lost.get(key, []), gained.get(key, []))
        kept = []
        theirs = {line.split("\t")[1] for line in self.seen.gained if _adds(line)} & {
            drift.name for drift in difference.extra
        }
        for drift in difference.extra:
            key = _key(drift)
            added = await self._removed(key, gained[key], theirs)
            actions += added
            if not added:
                kept.append(drift)
        return actions, tuple(kept)

    def _made(self, lines: Iterable[str]) -> list[Action]:
        return [self._make(line) for line in lines if self.making[line].make is not None]

    def _make(self, line: str, *, first: Sequence[str] = ()) -> Action:
        made = self.making[line]
        kind, name, definition = line.split("\t", 2)
        in_use = kind == "index" and name.partition(".")[0] in self.used
        return Action(
            key=key_of(line),
            stage=_stage(kind, definition),
            ordinal=made.ordinal,
            statements=made.aside if in_use else (*first, *((made.make,) if made.make else ())),
            finish=made.finish,
            sees_rows=definition.startswith("FOREIGN KEY"),
            aside=in_use,
        )

    async def _altered(self, key: Key, lost: Sequence[str], gained: Sequence[str]) -> list[Action]:
        if key[0] in _WHOLE:
            ending = [*self._in_the_way(gained), *self._endings(gained)]
            return [self._make(line, first=ending) for line in lost if self.making[line].make is not None]
        actions: list[Action] = []
        wrong_type = any(_is_type(line) for line in gained)
        for line in gained:
            ends = self.there[line].unmake
            if ends is not None and not _is_type(line) and not _adds(line):
                kind, _, definition = line.split("\t", 2)
                actions.append(Action(key=key, stage=_stage(kind, definition), ordinal=-1, statements=(ends,)))
        for line in lost:
            if wrong_type and _is_type(line):
                actions.append(await self._retype(line))
            elif not _adds(line):
                actions += self._made([line])
        return actions

    async def _retype(self, line: str) -> Action:
        """Policies and triggers of the table stand in the way, and are put back the next time round."""
        kind, name, definition = line.split("\t", 2)
        table, _, column = name.partition(".")
        lossy, change = await mending_queries.retype(
            self.conn, self.subject.schema_name, table, column, definition.removeprefix("type ")
        )
        first = self._endings(
            other for other in self.there if other.startswith((f"policy\t{table}.", f"trigger\t{table}."))
        )
        reason = "its rows hold values that the expected type does not"
        return Action(
            key=(kind, name),
            stage=_stage(kind, definition),
            ordinal=self.making[line].ordinal,
            statements=(*first, *change),
            guard=Guard(after=len(first) + 1, question=lossy, reason=reason),
            sees_rows=True,
        )

    def _in_the_way(self, gained: Iterable[str]) -> list[str]:
        """Foreign keys that hang on a key which is to be dropped."""
        tables = {
            line.split("\t")[1].partition(".")[0]
            for line in gained
            if line.split("\t", 2)[2].startswith(("PRIMARY KEY", "UNIQUE"))
        }
        hanging = (
            line
            for line in self.there
            if line.startswith("constraint\t")
            and any(f" REFERENCES {self.subject.schema_name}.{table}(" in line for table in tables)
        )
        return self._endings(hanging)

    def _endings(self, lines: Iterable[str]) -> list[str]:
        return [ends for line in lines if (ends := self.there[line].unmake) is not None]

    async def _removed(self, key: Key, gained: Sequence[str], theirs: set[str]) -> list[Action]:
        """Nothing where it is to be kept."""
        kind, name = key
        line = gained[0]
        owner = line.split("\t")[1]
        if kind not in {"relation", "function"} and (owner in theirs or owner.partition(".")[0] in theirs):
            return []  # a part of what somebody has added, and goes or stays with it
        invalid = kind == "index" and line.endswith(" invalid")
        if not (kind in _ALWAYS_REMOVED or invalid or self.drop_extra):
            return []
        guard = None
        table, _, column = name.partition(".")
        if any(_is_type(one) for one in gained):
            asked = await mending_queries.any_value(self.conn, self.subject.schema_name, table, column)
            guard = Guard(after=0, question=asked, reason="it holds values")
        elif kind == "relation" and any(one.endswith("\tkind r") for one in gained):
            asked = await mending_queries.any_row(self.conn, self.subject.schema_name, name)
            guard = Guard(after=0, question=asked, reason="it holds rows")
        # Of a column or a table it is its first fact that ends all of it.
        whole = [one for one in gained if _is_type(one) or _adds(one)] or list(gained)
        stage = _stage(kind, "") if kind in _ALWAYS_REMOVED else _stage("extra", "")
        return [
            Action(key=key, stage=stage, statements=(ends,), guard=guard, sees_rows=guard is not None)
            for ends in self._endings(whole)
        ]


def _by_key(lines: Iterable[str]) -> dict[Key, list[str]]:
    found: dict[Key, list[str]] = {}
    for line in sorted(lines):
        found.setdefault(key_of(line), []).append(line)
    return found


def _is_type(line: str) -> bool:
    kind, _, definition = line.split("\t", 2)
    return kind == "column" and definition.startswith("type ")


def _adds(line: str) -> bool:
    """Whether it is the fact that there is such a relation, or routine, at all."""
    kind, _, definition = line.split("\t", 2)
    return (kind == "relation" and definition.startswith("kind ")) or (
        kind == "function" and not definition.startswith("owner ")
    )


_STAGES: Final = {
    "schema": 0, "index": 10, "trigger": 11, "rule": 11, "policy": 12, "schema grant": 14, "relation grant": 14,
    "column grant": 14, "function": 13, "function grant": 14, "extra": 16, "view": 16, "type": 1, "object": 16,
}  # fmt: skip


def _stage(kind: str, definition: str) -> int:
    """What comes first. FORCE comes back after all that looks at rows, grants are the last."""
    if kind == "relation":
        if definition.startswith(("owner ", "inherits ", "is inherited ")):
            return 0
        return 13 if definition.startswith("row security") else 2 if definition.startswith("kind ") else 6
    if kind == "column":
        return 3 if definition.startswith("type ") else 4 if definition.startswith("default ") else 5
    if kind == "constraint":
        return 9 if definition.startswith("FOREIGN KEY") else 8 if definition.startswith("CHECK") else 7
    return _STAGES[kind]
