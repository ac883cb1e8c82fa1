"""Where throwaway clusters are fast: a database is a thousand files, which cost ten times as much on a disk."""

import os
import shutil
from pathlib import Path
from typing import Final

from app.db.embedded import SYSTEM_DIR

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- not guessed: the clusters below have names of mkdtemp
_ROOM: Final = 4 * 1024**3  # bytes; a run with four workers takes about one GiB


def roots_place() -> Path:
    """For root's clusters. Whoever is not root has them in pytest's own directories: see CONTRIBUTING.md."""
    if os.geteuid() == 0 and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM:
        return _MEMORY / "apg-bf-tests"
    return SYSTEM_DIR
