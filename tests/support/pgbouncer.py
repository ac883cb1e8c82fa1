"""A real PgBouncer in front of a cluster: Debian's package, a process of its own, a port of its own."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit, urlunsplit

from app.db.embedded import HOST, SUPERUSER
from tests.support.ports import free_port

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

_PATIENCE: Final = 10  # seconds
_SETTINGS: Final = {
    "pool_mode": "transaction",
    "auth_type": "scram-sha-256",
    # Every role of the cluster may log in, as there: with the server's own SCRAM secret, no copy of a password.
    "auth_user": SUPERUSER,
    "auth_query": "SELECT usename, passwd FROM pg_shadow WHERE usename = $1",
    "admin_users": SUPERUSER,
    "max_client_conn": "500",
    "default_pool_size": "20",
    "unix_socket_dir": "",
}


class PgBouncer:
    """Listens in front of every database of `cluster` while the block runs; transaction mode by default.

    `settings` are those of pgbouncer.ini: pool_mode, default_pool_size, ignore_startup_parameters ...
    """

    def __init__(self, cluster: "Cluster", *, settings: Mapping[str, str] | None = None) -> None:
        self.port = 0
        self._cluster = cluster
        self._settings = {**_SETTINGS, **(settings or {})}
        self._directory = Path()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="bf-pgbouncer-"))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()  # at once, cutting connections
            self._process.wait(_PATIENCE)
        shutil.rmtree(self._directory)

    def through(self, dsn: str) -> str:
        """The DSN of one of the cluster's databases, by way of PgBouncer."""
        parts = urlsplit(dsn)
        credentials = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{credentials}@{HOST}:{self.port}"))

    def _start(self) -> None:
        program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise RuntimeError("PgBouncer is missing, and these tests are of it: apt-get install pgbouncer")
        self._write_configuration()
        # It refuses to run as root, as PostgreSQL does.
        account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if account is not None:
            for path in (self._directory, *self._directory.iterdir()):
                os.chown(path, account.pw_uid, account.pw_gid)
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [program, self._directory / "pgbouncer.ini"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                user=account and account.pw_uid,
                group=account and account.pw_gid,
                extra_groups=[] if account else None,
            )
        self._await_answer()

    def _write_configuration(self) -> None:
        server = self._cluster.server
        users = self._directory / "users"
        users.write_text(f'"{SUPERUSER}" "{server.superuser_password}"\n')
        lines = [
            "[databases]",
            f"* = host={HOST} port={server.port}",
            "[pgbouncer]",
            f"listen_addr = {HOST}",
            f"listen_port = {self.port}",
            f"auth_file = {users}",
            *(f"{name} = {value}" for name, value in self._settings.items()),
        ]
        (self._directory / "pgbouncer.ini").write_text("\n".join(lines) + "\n")

    def _await_answer(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _PATIENCE
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, self.port)) == 0:
                    return
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = (self._directory / "log").read_text(errors="replace")
                raise RuntimeError(f"PgBouncer did not start:\n{log[-2000:]}")
            time.sleep(0.02)
