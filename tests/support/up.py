"""`bf-admin up`, which the README's first command runs."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import environment

_PAGE, _KEY = re.compile(r"page +(http://\S+)"), re.compile(r"admin key +(bfk_\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """`page` is its URL, `database_url` that of the owner of everything."""

    process: asyncio.subprocess.Process
    page: str
    key: str
    database_url: str


async def start(data_dir: Path, port: int) -> Up:
    """The running process, once it has printed what somebody who started it needs."""
    env = environment("")
    del env["DATABASE_URL"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "up", "--data-dir", str(data_dir), "--port", str(port),
        env=env, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    printed = ""
    try:
        async with asyncio.timeout(40):
            while "Ctrl-C" not in printed:
                line = (await process.stdout.readline()).decode()
                assert line, f"up ended: {printed}"
                printed += line
    except BaseException:
        process.kill()
        raise
    page, key = _PAGE.search(printed), _KEY.search(printed)
    assert page is not None
    assert key is not None
    url = (data_dir / "database-url").read_text().strip()
    return Up(process=process, page=page[1], key=key[1], database_url=url)


async def stop(up: Up) -> int:
    """Its exit code, after SIGTERM."""
    up.process.send_signal(signal.SIGTERM)
    return await asyncio.wait_for(up.process.wait(), 30)


@asynccontextmanager
async def running(data_dir: Path, port: int) -> AsyncIterator[Up]:
    up = await start(data_dir, port)
    try:
        yield up
    finally:
        await stop(up)
