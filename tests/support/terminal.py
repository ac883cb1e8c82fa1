"""A command on a terminal: a pseudo-terminal as its standard output and error."""

import asyncio
import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import Mapping
from typing import Final

from tests.support.processes import Finished

_WIDTH: Final = 120
_ESCAPE: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


async def on_terminal(*command: str, env: Mapping[str, str]) -> Finished:
    """Runs it to its end; `stdout` is all that the terminal was sent, its colours and movements included."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, _WIDTH, 0, 0))
    kept = {name: value for name, value in env.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    process = await asyncio.create_subprocess_exec(
        *command, env={**kept, "TERM": "xterm-256color"}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = await asyncio.wait_for(asyncio.to_thread(_read, ours), 60)
    return Finished(await process.wait(), shown, "")


def _read(terminal: int) -> str:
    shown = b""
    with os.fdopen(terminal, "rb", buffering=0) as source:
        while True:
            try:
                part = source.read(65536)
            except OSError:  # EIO: nobody has the other end open any longer
                break
            if not part:
                break
            shown += part
    return shown.decode().replace("\r\n", "\n")


def plain(shown: str) -> str:
    """Without colours and movements."""
    return _ESCAPE.sub("", shown)
