"""Programs that this machine should have."""

import asyncio
import re
import shlex
import shutil
from contextlib import suppress
from typing import Final

from app.db.embedded import Binaries, EmbeddedError
from app.doctor import queries
from app.doctor.model import Finding, passed, warned
from app.doctor.subject import Subject

_PGDG: Final = ("apt-get install postgresql-common", "/usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y")
_VERSION = re.compile(r"pg_dump \(PostgreSQL\) (\d+)\S*")


async def pg_dump(subject: Subject) -> Finding:
    """pg_dump refuses a server newer than itself."""
    needed = (await queries.server(subject.conn))["number"] // 10000
    program = shutil.which("pg_dump")
    if program is None:
        return warned("not on PATH", "backups are made with it", *await installing(needed))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(program, "--version", stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    said = (await process.communicate())[0].decode(errors="replace").strip()
    version = _VERSION.search(said)
    if version is None:
        return warned(f"{program}: {said}", "this says no version of PostgreSQL's", *await installing(needed))
    if int(version[1]) < needed:
        reason = f"the server is of version {needed}, and pg_dump refuses a newer one"
        return warned(version[0], reason, *await installing(needed))
    return passed(version[0])


async def installing(needed: int) -> tuple[str, ...]:
    """Lines that bring a pg_dump of this major version, or name one that is here already."""
    package = f"postgresql-client-{needed}"
    if await _apt_knows(package):
        return (f"apt-get install {package}",)
    with suppress(EmbeddedError):  # an extra, which may not be installed
        embedded = Binaries.packaged()
        if int(embedded.version.partition(".")[0]) >= needed:
            return (f'export PATH={shlex.quote(str(embedded.bin_dir))}:"$PATH"',)
    return *_PGDG, f"apt-get install {package}"


async def _apt_knows(package: str) -> bool:
    if (program := shutil.which("apt-cache")) is None:
        return False
    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(program, "show", "--quiet", package, stdout=null, stderr=null)
    return await process.wait() == 0
