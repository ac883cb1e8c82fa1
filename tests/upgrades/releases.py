"""Releases side by side: the one before, from the history; this one; and one to come, which adds a migration to each
layer. Each is a directory with app/ and migrations/, whose processes run in this environment.
"""

import asyncio
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.processes import Finished, Served, bf_admin, logged, served

ROOT: Final = Path(__file__).resolve().parents[2]

_LAYERS: Final = ("control", "shared", "tenant")
# What docs/living-upgrades.md allows a release: it only adds, and what it adds has a default.
_TO_COME: Final = {
    "control": """
ALTER TABLE bf_control.tenant ADD COLUMN to_come text, ADD COLUMN to_come_flag boolean NOT NULL DEFAULT false;
ALTER TABLE bf_control.operation ADD COLUMN to_come integer NOT NULL DEFAULT 0;
CREATE TABLE bf_control.to_come (id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT to_come_pkey PRIMARY KEY);
""",
    "shared": """
-- section: tables
CREATE TABLE {{shared}}.to_come (id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT to_come_pkey PRIMARY KEY);
ALTER TABLE {{shared}}.tenant_config ADD COLUMN to_come text;
""",
    "tenant": """
-- section: table
ALTER TABLE budgets ADD COLUMN to_come text;
-- section: index
CREATE INDEX IF NOT EXISTS {{index to_come}} ON budgets (to_come);
""",
}


@dataclass(frozen=True, slots=True)
class Release:
    place: Path

    @property
    def tenant_version(self) -> int:
        return len(list((self.place / "migrations" / "tenant").glob("*.sql")))

    async def run(self, *arguments: str, env: dict[str, str]) -> Finished:
        return await bf_admin(*arguments, env=env, cwd=self.place)

    def serve(self, *, env: dict[str, str], directory: Path) -> AbstractAsyncContextManager[Served]:
        return served(env=env, directory=directory, cwd=self.place)

    def work(self, *, env: dict[str, str], log: Path) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        return logged("worker", env=env, log=log, cwd=self.place)


THIS: Final = Release(ROOT)


def to_come(directory: Path) -> Release:
    """This release and one more migration of each layer."""
    for part in ("app", "migrations"):
        shutil.copytree(ROOT / part, directory / part, ignore=shutil.ignore_patterns("__pycache__"))
    for layer, text in _TO_COME.items():
        files = directory / "migrations" / layer
        number = len(list(files.glob("*.sql"))) + 1
        (files / f"{number:04}_to_come.sql").write_text(text)
    return Release(directory)


def before(directory: Path) -> Release | None:
    """The release before this one, as the history has it; None where nothing is known of one.

    That is the newest commit which this tree adds migrations to, and changes none of; while there is none, the
    newest with another app/.
    """
    if not _readable_history():
        return None
    ours = _working_tree()
    commits = _git("rev-list", "--first-parent", "HEAD").decode().split()
    found = _newest(commits, ours)
    if found is None:
        return None
    # git wrote it: nothing of tarfile's filters is needed, which Python before 3.11.4 has not.
    directory.mkdir(parents=True, exist_ok=True)
    archive = _git("archive", found, "app", "migrations")
    subprocess.run(["tar", "--extract", "--directory", directory], input=archive, check=True)
    return Release(directory)


def _readable_history() -> bool:
    """Not in a source distribution, nor where git does not trust the owner of the checkout."""
    if shutil.which("git") is None:
        return False
    asked = subprocess.run(["git", "-C", ROOT, "rev-parse", "--git-dir", "HEAD"], capture_output=True, check=False)
    return asked.returncode == 0


def _newest(commits: Iterable[str], ours: dict[str, str]) -> str | None:
    with_another_app = None
    for commit in commits:
        theirs = _tree(commit)
        migrations = {path: digest for path, digest in theirs.items() if path.startswith("migrations/")}
        if not migrations or any(ours.get(path) != digest for path, digest in migrations.items()):
            continue
        if len(migrations) < sum(path.startswith("migrations/") for path in ours):
            return commit
        if with_another_app is None and theirs != ours:
            with_another_app = commit
    return with_another_app


def _places() -> list[str]:
    return [f"migrations/{layer}" for layer in _LAYERS] + ["app"]


def _tree(commit: str) -> dict[str, str]:
    """The digests of a commit's files."""
    lines = _git("ls-tree", "-r", commit, "--", *_places()).decode().splitlines()
    return {path: entry.split()[2] for entry, _, path in (line.partition("\t") for line in lines)}


def _working_tree() -> dict[str, str]:
    paths = _git("ls-files", "--cached", "--others", "--exclude-standard", "--", *_places()).decode().splitlines()
    present = [path for path in paths if (ROOT / path).is_file()]
    return dict(zip(present, _git("hash-object", "--", *present).decode().split(), strict=True))


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout
