"""PostgreSQL's client programs: of the server's major version, or, where there are none, of a newer one.

pg_dump reads older servers and refuses newer ones; pg_restore reads what older ones have written. Neither connects
when an archive is restored (app.backups.archive), so that a newer one may do it.
"""

import asyncio
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.backups.errors import BackupFailed
from app.db.embedded import Binaries, EmbeddedError

_VERSION: Final = re.compile(rb"\(PostgreSQL\) (\d+)")
_PLACES: Final = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
_PROGRAMS: Final = ("pg_dump", "pg_restore")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """A directory with programs of one major version."""

    directory: Path
    major: int

    @property
    def pg_dump(self) -> str:
        return str(self.directory / "pg_dump")

    @property
    def pg_restore(self) -> str:
        return str(self.directory / "pg_restore")


async def find(pg_bin: Path | None, *, at_least: int) -> Tools:
    """The oldest that will do; in `pg_bin` alone where that is given. Raises BackupFailed, naming the mend."""
    found = []
    for directory in [pg_bin] if pg_bin is not None else _directories():
        major = await _major(directory)
        if major is not None and major >= at_least:
            found.append(Tools(directory=directory, major=major))
    if not found:
        where = "is nowhere here" if pg_bin is None else f"is not in {pg_bin} (BF_PG_BIN)"
        raise BackupFailed(
            f"pg_dump of PostgreSQL {at_least} or newer {where}: apt-get install postgresql-client-{at_least}, "
            "or name its directory in BF_PG_BIN."
        )
    return min(found, key=lambda tools: tools.major)


def _directories() -> Iterator[Path]:
    """Each once."""
    places = [Path(place) for place in os.get_exec_path()]
    for pattern in _PLACES:
        places += sorted(Path("/").glob(pattern.lstrip("/")))
    with suppress(EmbeddedError):  # an extra, which may not be installed
        places.append(Binaries.packaged().bin_dir)
    yield from dict.fromkeys(places)


async def _major(directory: Path) -> int | None:
    """None where there are not both of the programs, or none that run here."""
    if not all(os.access(directory / name, os.X_OK) for name in _PROGRAMS):
        return None
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(directory / "pg_dump", "--version", stdout=pipe, stderr=null)
    except OSError:
        return None
    said = _VERSION.search((await process.communicate())[0])
    return None if said is None else int(said[1])
