"""Prometheus's own tools, of Debian's package: what they say of a file, or of what they are given to read."""

import shutil
import subprocess
from pathlib import Path


def program(name: str) -> str:
    """Raises RuntimeError where it is missing: skipped, nothing would be tested."""
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"there is no {name}: apt-get install --no-install-recommends prometheus")
    return found


def promtool(*arguments: str, reading: bytes | None = None, cwd: Path | None = None) -> str:
    """What it says, an AssertionError where it finds fault."""
    done = subprocess.run(
        [program("promtool"), *arguments], input=reading, capture_output=True, timeout=300, check=False, cwd=cwd
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said
