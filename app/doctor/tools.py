"""Programs that this machine should have."""

import asyncio
import re
import shutil

from app.doctor import queries
from app.doctor.model import Finding, passed, warned
from app.doctor.subject import Subject

_VERSION = re.compile(r"pg_dump \(PostgreSQL\) (\d+)\S*")


async def pg_dump(subject: Subject) -> Finding:
    """pg_dump refuses a server newer than itself."""
    needed = (await queries.server(subject.conn))["number"] // 10000
    install = f"apt-get install postgresql-client-{needed}"
    program = shutil.which("pg_dump")
    if program is None:
        return warned("not on PATH", "backups are made with it", install)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(program, "--version", stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    said = (await process.communicate())[0].decode(errors="replace").strip()
    version = _VERSION.search(said)
    if version is None:
        return warned(f"{program}: {said}", "this says no version of PostgreSQL's", install)
    if int(version[1]) < needed:
        return warned(version[0], f"the server is of version {needed}, and pg_dump refuses a newer one", install)
    return passed(version[0])
