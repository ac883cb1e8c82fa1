"""Migration files: how they are found, split, checksummed, filled in and quoted."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.schema import files, script
from app.schema.script import MigrationFileError, Target
from tests.schema.support import copied_migrations


def rename(layer: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / layer / old).rename(root / layer / new)


def write(layer: str, name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / layer / name).write_text(text)


def empty(root: Path) -> None:
    for path in (root / "tenant").iterdir():
        path.unlink()


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "gap": (write("control", "0099_late.sql", "SELECT 1;"), "control has no version [0-9]+, but .*0099_late.sql"),
    "gap at the start": (
        rename("tenant", "0001_business_tables.sql", "0002_business_tables.sql"),
        "tenant has no version 1, but .*0002_business_tables.sql",
    ),
    "duplicate": (write("shared", "0002_more.sql", "SELECT 1;"), "shared/0002_more.sql repeats version 2"),
    "duplicate of the first": (write("shared", "0001_a.sql", "SELECT 1;"), "0001_.*.sql repeats version 1"),
    "version zero": (write("shared", "0000_zero.sql", "SELECT 1;"), "shared/0000_zero.sql repeats version 0"),
    "name": (write("shared", "3_three.sql", "SELECT 1;"), "3_three.sql is not named NNNN_name.sql"),
    "capitals": (write("shared", "0098_Three.sql", "SELECT 1;"), "0098_Three.sql is not named NNNN_name.sql"),
    "nothing in it": (write("shared", "0003_three.sql", "-- SELECT 1;\n;\n"), "0003_three.sql holds no"),
    "no file": (empty, "no migrations in .*/tenant"),
    "concurrently": (
        write("tenant", "0002_i.sql", "-- section: index\nCREATE INDEX CONCURRENTLY i ON budgets (id);"),
        "0002_i.sql: CONCURRENTLY cannot run",
    ),
    "no section": (
        write("tenant", "0002_t.sql", "SELECT 1;"),
        "0002_t.sql: there is no section tenant in layer tenant",
    ),
    "a section with a slip of the pen": (
        write("shared", "0003_r.sql", "-- section: rsl\nSELECT 1;"),
        "0003_r.sql: there is no section rsl in layer shared",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_files_that_are_not_in_order_are_refused_by_name(tmp_path: Path, case: str) -> None:
    root = copied_migrations(tmp_path)
    script.load(root)
    change, message = WRONG[case]
    change(root)
    with pytest.raises(MigrationFileError, match=message):
        script.load(root)


def test_our_own_files_are_in_order() -> None:
    loaded = files.migrations()
    assert [migration.layer for migration in loaded] == sorted((m.layer for m in loaded), key=script.LAYERS.index)
    for layer in script.LAYERS:
        versions = [migration.version for migration in loaded if migration.layer == layer]
        assert versions == list(range(1, len(versions) + 1))
    assert script.latest(loaded) == {
        layer: max(m.version for m in loaded if m.layer == layer) for layer in script.LAYERS
    }


def test_the_checksum_is_that_of_the_bytes(tmp_path: Path) -> None:
    root = copied_migrations(tmp_path)
    path = root / "shared" / "0002_functions.sql"
    before = script.load(root)
    found = next(migration for migration in before if migration.name == "functions")
    assert found.checksum == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n", 1))
    changed = [m.name for m, b in zip(script.load(root), before, strict=True) if m.checksum != b.checksum]
    assert changed == ["functions"]


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("SELECT 1; SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("-- a; b\nSELECT 1; -- c; d\n;;\n", ["SELECT 1"]),
        ("SELECT ';', 'it''s;'; SELECT \"a;b\"\"c;\"", ["SELECT ';', 'it''s;'", 'SELECT "a;b""c;"']),
        ("DO $$ BEGIN; END $$; SELECT 1", ["DO $$ BEGIN; END $$", "SELECT 1"]),
        ("DO $f$ SELECT ';' $$ ; $$ $f$; SELECT 1", ["DO $f$ SELECT ';' $$ ; $$ $f$", "SELECT 1"]),
        ("SELECT 1 /* ; */ + 1; /* it's; */ SELECT 2", ["SELECT 1 /* ; */ + 1", "/* it's; */ SELECT 2"]),
        ("SELECT '--'; SELECT 2 -- it's\n;", ["SELECT '--'", "SELECT 2 -- it's"]),
        ("", []),
        (" \n-- only this", []),
    ],
)
def test_a_semicolon_ends_a_statement_only_where_postgresql_thinks_so(text: str, statements: list[str]) -> None:
    assert list(script.split(text)) == statements


def test_no_statement_of_ours_holds_two() -> None:
    """Citus wants one statement per EXECUTE. What is left after quotes and comments has no semicolon."""
    for migration in files.migrations():
        for statement in migration.statements:
            assert list(script.split(statement.text)) == [statement.text]


def test_every_placeholder_is_known_and_filled_in() -> None:
    target = Target(shared_schema='My "Shared', app_role="it's", audit_role="a\\b")
    for migration in files.migrations():
        for statement in script.render(migration, target):
            if migration.layer == "shared":
                assert "{{" not in statement, migration.path


def test_an_unknown_placeholder_is_refused(tmp_path: Path) -> None:
    root = copied_migrations(tmp_path)
    number = script.latest(files.migrations())["shared"] + 1
    (root / "shared" / f"{number:04}_x.sql").write_text("SELECT {{shard}};")
    (migration,) = [one for one in script.load(root) if one.name == "x"]
    with pytest.raises(MigrationFileError, match=r"unknown placeholder \{\{shard\}\}"):
        script.render(migration, Target())


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 64, "ü" * 32])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(MigrationFileError):
        script.quote_ident(name)


def test_names_that_would_break_out_of_function_bodies_are_refused() -> None:
    with pytest.raises(MigrationFileError, match=r"\$function\$"):
        Target(shared_schema="x$function$; DROP TABLE y")


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


# The connection, and its transaction, are the same for every example: nothing is changed in it.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=TEXT)
@example(value="C:\\it's\\")
@example(value="\\")
async def test_a_quoted_literal_is_the_value_whatever_the_server_is_set_to(
    admin: asyncpg.Connection, value: str
) -> None:
    for setting in ("on", "off"):
        await admin.execute(f"SET LOCAL standard_conforming_strings = {setting}; SET LOCAL escape_string_warning = off")
        assert await admin.fetchval(f"SELECT {script.quote_literal(value)}") == value


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=TEXT.filter(lambda text: 0 < len(text.encode()) <= 63))
@example(value='My "Shared\\')
async def test_a_quoted_identifier_is_the_name(admin: asyncpg.Connection, value: str) -> None:
    row = await admin.fetchrow(f"SELECT 1 AS {script.quote_ident(value)}")
    assert list(row.keys()) == [value]
