"""Every SQL constant of the application prepares on the migrated database."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType

import asyncpg
import pytest

import app
from app.schema import files, script
from app.schema.script import Target

_SQL = re.compile(
    r"\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH|LOCK|SHOW|DO|SET|CREATE|ALTER|DROP|GRANT|REVOKE|MERGE|TABLE|VALUES)\s"
)
_PARSED_ONLY = re.compile(r"\s*(?:LOCK|SHOW|DO|SET)\b")


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(app.__path__, "app."):
        yield importlib.import_module(found.name)


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield str(value)
    elif isinstance(value, dict):
        for held in value.values():
            yield from texts(held)
    elif isinstance(value, list | tuple | set | frozenset):
        for held in value:
            yield from texts(held)


def constants() -> dict[str, str]:
    """By module and name; a constant that is imported elsewhere counts once."""
    found: dict[str, str] = {}
    for module in modules():
        for name, value in vars(module).items():
            for number, text in enumerate(texts(value) if not name.startswith("__") else ()):
                if _SQL.match(text) and text not in found.values():
                    found[f"{module.__name__}.{name}" + (f"[{number}]" if number else "")] = text
    return found


CONSTANTS = constants()


def filled(text: str) -> str:
    """A downgrade's constants name the shared schema and the roles by placeholders."""
    return script.fill_downgrade(text, Target(), script.load_down(files.root())) if "{{" in text else text


@pytest.mark.parametrize("name", CONSTANTS)
async def test_a_constant_prepares(admin: asyncpg.Connection, name: str) -> None:
    statement = filled(CONSTANTS[name])
    await admin.prepare(statement)
    if _PARSED_ONLY.match(statement):  # PostgreSQL looks at the names of these when they run
        await admin.execute("SET LOCAL ROLE bf_migrator")
        await admin.execute(statement)


def test_the_constants_are_found() -> None:
    """Else nothing would be tested."""
    assert len(CONSTANTS) > 50
    for module in ("registry.queries", "operations.queries", "schema.queries", "schema.catalogue", "apikeys.queries"):
        assert any(name.startswith(f"app.{module}.") for name in CONSTANTS), module


async def test_a_constant_that_names_what_is_not_there_would_fail(admin: asyncpg.Connection) -> None:
    await admin.execute("ALTER TABLE bf_control.tenant RENAME COLUMN schema_version TO release")
    with pytest.raises(asyncpg.UndefinedColumnError):
        await admin.prepare(CONSTANTS["app.registry.queries._GET"])
