"""Takes the page's scripts and styles, and the tests' axe-core, from npm again: python -m scripts.vendor [NAME=VERSION]

Each file's hash stands in the lock beside it, and the tarball's own integrity, which npm compares what it fetched with.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = "lock.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """`files` are those of the tarball that are kept, by the names they are kept under in `directory`."""

    name: str
    directory: Path
    files: Mapping[str, str]


_PAGE: Final = ROOT / "app" / "dashboard" / "static" / "vendor"
_TESTS: Final = ROOT / "tests" / "browser" / "vendor"
PACKAGES: Final = (
    Package(
        name="htmx.org",
        directory=_PAGE,
        files={"htmx.min.js": "dist/htmx.min.js", "htmx.LICENSE.txt": "LICENSE"},
    ),
    Package(
        name="uplot",
        directory=_PAGE,
        files={
            "uPlot.iife.min.js": "dist/uPlot.iife.min.js",
            "uPlot.min.css": "dist/uPlot.min.css",
            "uPlot.LICENSE.txt": "LICENSE",
        },
    ),
    Package(name="axe-core", directory=_TESTS, files={"axe.min.js": "axe.min.js", "axe-core.LICENSE.txt": "LICENSE"}),
)


def main(arguments: Sequence[str]) -> None:
    """Those that are named, at the version named; without any, all of them as they are locked."""
    wanted = dict(argument.split("=", 1) for argument in arguments)
    for package in PACKAGES:
        if not wanted or package.name in wanted:
            _take(package, wanted.get(package.name))


def locked(directory: Path) -> dict[str, Any]:
    """By package: `version`, `integrity`, and `files` with their hashes."""
    path = directory / LOCK
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def integrity(content: bytes) -> str:
    """As npm, and browsers, write it."""
    return f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"


def _take(package: Package, version: str | None) -> None:
    lock = locked(package.directory)
    known = lock.get(package.name, {})
    version = version or known["version"]
    with tempfile.TemporaryDirectory() as scratch:
        tarball = _fetched(package.name, version, Path(scratch))
        of_tarball = integrity(tarball.read_bytes())
        if known.get("version") == version and known["integrity"] != of_tarball:
            raise SystemExit(f"{package.name} {version} is not what it was: {of_tarball}, not {known['integrity']}")
        files = {kept: _member(tarball, name) for kept, name in package.files.items()}
    package.directory.mkdir(parents=True, exist_ok=True)
    for kept, content in files.items():
        (package.directory / kept).write_bytes(content)
    hashes = {kept: integrity(content) for kept, content in files.items()}
    lock[package.name] = {"version": version, "integrity": of_tarball, "files": hashes}
    (package.directory / LOCK).write_text(json.dumps(lock, indent=2, sort_keys=True) + "\n")


def _fetched(name: str, version: str, scratch: Path) -> Path:
    command = ["npm", "pack", "--silent", f"{name}@{version}", "--pack-destination", str(scratch)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 -- npm, with a name of ours
    return next(scratch.glob("*.tgz"))


def _member(tarball: Path, name: str) -> bytes:
    with tarfile.open(tarball) as archive:
        file = archive.extractfile(f"package/{name}")
        if file is None:
            raise SystemExit(f"{tarball.name} has no {name}")
        return file.read()


if __name__ == "__main__":
    main(sys.argv[1:])
