"""The suite on each PostgreSQL, with and without PgBouncer: `make test-matrix`.

python -m tests.support.matrix --versions "13 18" --poolers "none pgbouncer" -- tests/tenants -n 4

Everything after the two dashes is pytest's. Exit code 1 if anything failed, anywhere.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from tests.support import postgres_versions

POOLERS: Final = ("none", "pgbouncer")
# The marker of what says nothing of the server: it runs in the first cell alone.
ONCE: Final = "any_postgres"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of pytest. `failed` counts errors too; `complete` is false where pytest did not come to its end."""

    version: int
    pooler: str
    passed: int
    failed: int
    complete: bool
    seconds: float

    @property
    def ok(self) -> bool:
        return self.complete and self.failed == 0 and self.passed > 0


def run(versions: Sequence[int], poolers: Sequence[str], arguments: Sequence[str]) -> Iterator[Cell]:
    """One after the other, with what is marked ONCE in the first alone.

    Raises VersionError, before anything runs, for binaries that are not to be had.
    """
    places = {version: postgres_versions.bin_directory(version) for version in versions}
    once: list[str] = []
    for version, place in places.items():
        for pooler in poolers:
            _say(f"\n=== PostgreSQL {version} ({place}), pooler: {pooler}\n")
            environment = {**os.environ, "BF_TEST_POSTGRES": place, "BF_TEST_PGBOUNCER": str(int(pooler != "none"))}
            yield _run(version, pooler, environment, [*once, *arguments])
            once = ["-m", f"not {ONCE}"]


def _run(version: int, pooler: str, environment: dict[str, str], arguments: Sequence[str]) -> Cell:
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *arguments]
        code = subprocess.run(command, env=environment, check=False).returncode
        passed, failed = counted(report) if report.exists() else (0, 0)
    return Cell(
        version=version,
        pooler=pooler,
        passed=passed,
        failed=failed,
        complete=code == 0 or (code == 1 and failed > 0),
        seconds=time.monotonic() - begun,
    )


def counted(report: Path) -> tuple[int, int]:
    """How many tests passed, and how many failed or were errors, by pytest's JUnit report."""
    passed = failed = 0
    for suite in ElementTree.parse(report).iter("testsuite"):  # noqa: S314 -- pytest's own
        bad = int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
        failed += bad
        passed += int(suite.get("tests", "0")) - bad - int(suite.get("skipped", "0"))
    return passed, failed


def table(cells: Sequence[Cell]) -> str:
    lines = [f"{'PostgreSQL':<12}{'pooler':<12}{'passed':>8}{'failed':>8}{'seconds':>9}"]
    for cell in cells:
        note = "" if cell.complete else "  did not finish"
        lines.append(f"{cell.version:<12}{cell.pooler:<12}{cell.passed:>8}{cell.failed:>8}{cell.seconds:>9.0f}{note}")
    return "\n".join(lines) + "\n"


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main(given: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make test-matrix", description="The suite on each PostgreSQL.")
    parser.add_argument("--versions", default=" ".join(map(str, postgres_versions.MAJORS)))
    parser.add_argument("--poolers", default=" ".join(POOLERS))
    parser.add_argument("pytest", nargs="*", help="arguments of pytest")
    wanted = parser.parse_args(given)
    unknown = {*wanted.versions.split()} - {*map(str, postgres_versions.MAJORS)}
    unknown |= {*wanted.poolers.split()} - {*POOLERS}
    if unknown or not wanted.versions.split() or not wanted.poolers.split():
        majors = " ".join(map(str, postgres_versions.MAJORS))
        parser.error(f"VERSIONS are of {majors}, POOLERS of {' '.join(POOLERS)}; not {' '.join(sorted(unknown))}")
    try:
        cells = list(run([int(version) for version in wanted.versions.split()], wanted.poolers.split(), wanted.pytest))
    except postgres_versions.VersionError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    _say(f"\n{table(cells)}")
    return 0 if all(cell.ok for cell in cells) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
