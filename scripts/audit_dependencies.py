"""Asks for known vulnerabilities of everything in uv.lock: `make audit-deps`.

Exit codes: 0, every package was looked up and none is known to be vulnerable; 1, some are; 3, the advisories were not
to be had, or not for every package, so nothing is known. A mirror of PyPI has packages and often no advisories: what
was skipped is not taken for clean.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_ROOT: Final = Path(__file__).parents[1]
_EXPORT: Final = ("export", "--quiet", "--frozen", "--all-extras", "--all-groups", "--no-emit-project")
_UNKNOWN: Final = 3


def verdict(dependencies: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """The exit code, and what to say, of pip-audit's findings."""
    vulnerable = [
        f"{one['name']} {one['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'nothing yet'}"
        for one in dependencies
        for found in one.get("vulns", ())
    ]
    skipped = [f"{one['name']}: {one['skip_reason']}" for one in dependencies if "skip_reason" in one]
    if vulnerable:
        return 1, [*vulnerable, *skipped]
    if skipped or not dependencies:
        return _UNKNOWN, skipped[:5]
    return 0, [f"{len(dependencies)} packages, none known to be vulnerable"]


def main() -> int:
    uv, audit = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as directory:
        locked = Path(directory, "requirements.txt")
        locked.write_text(subprocess.run([uv, *_EXPORT], capture_output=True, text=True, check=True, cwd=_ROOT).stdout)  # noqa: S603
        asked = [audit, "--requirement", str(locked), "--require-hashes", "--disable-pip", "--format", "json"]
        answer = subprocess.run([*asked, "--progress-spinner", "off"], capture_output=True, text=True, check=False)  # noqa: S603
    try:
        code, lines = verdict(json.loads(answer.stdout)["dependencies"])
    except (ValueError, KeyError):
        code, lines = _UNKNOWN, answer.stderr.strip().splitlines()[-1:]
    say = sys.stdout if code == 0 else sys.stderr
    print(*lines, sep="\n", file=say)
    if code == _UNKNOWN:
        banner = "*** NOT AUDITED: the advisories were not to be had; whether a dependency is vulnerable is unknown ***"
        print(banner, file=say)
    return code


if __name__ == "__main__":
    sys.exit(main())
