"""An archive of pg_dump's custom format as the SQL that pg_restore makes of it: statements, and rows to COPY.

It is never pg_restore that connects: a session of its own could commit after its worker has died, and from PostgreSQL
17 on it sets what an older server does not know. So all of it can be one transaction, with whatever belongs to it.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.backups import programs
from app.backups.errors import BackupFailed
from app.backups.tools import Tools
from app.schema import script

_IDENT: Final = r'"(?:[^"]|"")+"|[^\s".,()]+'
_COPY: Final = re.compile(rf"COPY ({_IDENT})\.({_IDENT}) \((.*)\) FROM stdin;")
_COLUMN: Final = re.compile(_IDENT)
# Settings of a session of pg_restore's own, and psql's commands.
_LEFT_OUT: Final = re.compile(r"SET |SELECT pg_catalog\.set_config\(")
_PSQL: Final = (b"\\restrict", b"\\unrestrict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of a table in COPY's text format. They must be read to their end before the next part is asked for."""

    schema_name: str
    table: str
    columns: tuple[str, ...]
    lines: AsyncIterator[list[bytes]]


async def parts(tools: Tools, path: Path, *, data_only: bool = False) -> AsyncGenerator[Statement | Rows, None]:
    """What restores the archive, in order. Raises BackupFailed where pg_restore does not read it."""
    command = [tools.pg_restore, "--file=-", "--no-owner", *(["--data-only"] if data_only else []), str(path)]
    text: list[bytes] = []
    async with aclosing(programs.output(command)) as pieces:
        lines = _lines(pieces)
        async for line in lines:
            copied = _COPY.fullmatch(line.decode()) if line.startswith(b"COPY ") else None
            if copied is None:
                if not line.startswith(_PSQL):
                    text.append(line)
                continue
            for statement in _statements(text):
                yield statement
            text = []
            columns = tuple(_plain(column) for column in _COLUMN.findall(copied[3]))
            yield Rows(schema_name=_plain(copied[1]), table=_plain(copied[2]), columns=columns, lines=_batches(lines))
    for statement in _statements(text):
        yield statement


_OF_ROLES: Final = re.compile(r"GRANT |REVOKE |CREATE POLICY ")


def names_tenant_role(statement: str, tenant_id: str) -> bool:
    """Whether it gives the tenant's own role something: of the database that was dumped, which may be another."""
    return _OF_ROLES.match(statement) is not None and _tenant_role(tenant_id).search(statement) is not None


def with_tenant_role(statement: str, tenant_id: str, role_name: str) -> str:
    """The same for the role as it is called in this database. Nothing in it needs quoting, so pg_dump has not."""
    return _tenant_role(tenant_id).sub(role_name, statement)


def _tenant_role(tenant_id: str) -> re.Pattern[str]:
    return re.compile(rf"\bbf_tenant_{re.escape(tenant_id)}_\d+\b")


def _statements(lines: list[bytes]) -> list[Statement]:
    found = script.split(b"\n".join(lines).decode())
    return [Statement(text=text) for text in found if _LEFT_OUT.match(text) is None]


def _plain(identifier: str) -> str:
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest


async def _batches(lines: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Up to the end of the rows. Raises BackupFailed where the archive ends before."""
    batch: list[bytes] = []
    async for line in lines:
        if line == b"\\.":
            yield batch
            return
        batch.append(line)
        if len(batch) == 1000:
            yield batch
            batch = []
    raise BackupFailed("The archive ends in the middle of a table.")


async def count(tools: Tools, path: Path) -> dict[str, int]:
    """How many rows of each table the archive holds."""
    found: dict[str, int] = {}
    async with aclosing(parts(tools, path, data_only=True)) as read:
        async for part in read:
            if isinstance(part, Rows):
                found[part.table] = 0
                async for batch in part.lines:
                    found[part.table] += len(batch)
    return found
