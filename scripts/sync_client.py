"""Writes app/client/_sync from app/client/_async: `make client`."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import unasync

_ROOT: Final = Path(__file__).parents[1]
ASYNC: Final = _ROOT / "app/client/_async"
SYNC: Final = _ROOT / "app/client/_sync"
# Beside what unasync replaces by itself. time.sleep() is all that asyncio is needed for.
_NAMES: Final = {
    "AsyncClient": "Client",
    "AsyncBaseTransport": "BaseTransport",
    "_async": "_sync",
    "aclose": "close",
    "aiter_sse": "iter_sse",
    "aread": "read",
    "asyncio": "time",
}


def generated() -> dict[str, str]:
    """The text of each module of the sync client, by file name."""
    sources = sorted(ASYNC.glob("*.py"))
    with tempfile.TemporaryDirectory() as directory:
        rule = unasync.Rule(f"{ASYNC}/", f"{directory}/", additional_replacements=_NAMES)
        unasync.unasync_files([str(source) for source in sources], [rule])
        return {source.name: _tidy(source.name, Path(directory, source.name).read_text()) for source in sources}


def _tidy(name: str, text: str) -> str:
    """In the order and the lines that ruff wants: shorter names move both."""
    imports = ["check", "--fix-only", "--quiet", "--select", "I", "--config", "lint.isort.known-first-party=['app']"]
    for command in (imports, ["format"]):
        path = str(SYNC / name)
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", path, "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True, cwd=_ROOT).stdout  # noqa: S603
    return text


def main() -> None:
    modules = generated()
    SYNC.mkdir(exist_ok=True)
    for stale in {path.name for path in SYNC.glob("*.py")} - modules.keys():
        (SYNC / stale).unlink()
    for name, text in modules.items():
        (SYNC / name).write_text(text)


if __name__ == "__main__":
    main()
