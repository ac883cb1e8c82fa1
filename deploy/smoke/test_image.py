"""The built image, run as it is to be run: by its own user, on a read-only root, without capabilities.

Not of the normal suite: deploy/build-image.sh runs it. IMAGE names the image, ENGINE the engine with its options.
"""

import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.cluster import Cluster
from tests.support.processes import free_port

_IMAGE = os.environ["IMAGE"]
_ENGINE = shlex.split(os.environ.get("ENGINE", "podman --runtime runc"))
# --no-healthcheck: the engine's own timer needs systemd; the command is run below. The limits are the engine's
# defaults otherwise, which a root without CAP_SYS_RESOURCE may not set.
_LOCKED: tuple[str, ...] = (
    "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp:rw,noexec,nosuid,nodev,size=16m",  # noqa: S108
    "--cap-drop=all", "--security-opt", "no-new-privileges", "--network", "host", "--no-healthcheck",
    "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096",
)  # fmt: skip


def _engine(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*_ENGINE, *arguments], capture_output=True, text=True, timeout=60)
    assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done


def _shell(script: str) -> str:
    """What a shell in the image prints."""
    return _engine("run", "--rm", *_LOCKED, "--entrypoint", "sh", _IMAGE, "-c", script).stdout.strip()


@pytest.fixture(scope="module")
def image() -> dict[str, Any]:
    described: dict[str, Any] = json.loads(_engine("image", "inspect", _IMAGE).stdout)[0]
    return described


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    running = Cluster.start(tmp_path_factory.mktemp("cluster") / "data")
    yield running
    running.stop()


class Service:
    """Containers of one database, which learn its URL from a file."""

    def __init__(self, directory: Path, dsn: str) -> None:
        self.port = free_port()
        self._names: list[str] = []
        self._secrets = directory
        directory.chmod(0o755)
        for name, value in (("database_url", dsn), ("api_key_pepper", secrets.token_urlsafe())):
            (directory / name).write_text(f"{value}\n")

    def _options(self) -> tuple[str, ...]:
        return (
            *_LOCKED, "-v", f"{self._secrets}:/run/secrets:ro",
            "-e", "DATABASE_URL_FILE=/run/secrets/database_url",
            "-e", "BF_API_KEY_PEPPER_FILE=/run/secrets/api_key_pepper",
        )  # fmt: skip

    def once(self, *arguments: str) -> str:
        """A command to its end; what it prints."""
        return _engine("run", "--rm", *self._options(), _IMAGE, *arguments).stdout

    def start(self, *arguments: str) -> str:
        """The name of a container that runs."""
        name = f"bf-smoke-{secrets.token_hex(4)}"
        _engine("run", "-d", "--name", name, *self._options(), _IMAGE, *arguments)
        self._names.append(name)
        return name

    def serve(self) -> str:
        return self.start("serve", "--host", "127.0.0.1", "--port", str(self.port))

    def answers(self, path: str, *, within: float = 20) -> float:
        """How many seconds it took until the path answered 200."""
        begun = time.monotonic()
        while time.monotonic() - begun < within:
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=5).status_code == 200:
                    return time.monotonic() - begun
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        logs = "".join(_engine("logs", name, check=False).stderr for name in self._names)
        raise AssertionError(f"{path} did not answer 200 within {within} s: {logs}")

    def stop(self, name: str) -> tuple[float, int]:
        """SIGTERM to its first process: seconds until the end, and the exit code."""
        begun = time.monotonic()
        _engine("kill", "--signal", "TERM", name)
        code = int(_engine("wait", name).stdout)
        return time.monotonic() - begun, code

    def remove(self) -> None:
        for name in self._names:
            _engine("rm", "--force", "--time", "0", name)


@pytest.fixture
async def service(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Service]:
    running = Service(tmp_path, await cluster.create_database())
    yield running
    running.remove()


def _healthcheck(image: dict[str, Any]) -> list[str]:
    """Docker keeps it in Config, podman beside it."""
    kind, *command = (image["Config"].get("Healthcheck") or image["Healthcheck"])["Test"]
    assert kind == "CMD", "without a shell"
    return command


def test_the_image_says_what_it_is_and_starts_without_a_shell(image: dict[str, Any]) -> None:
    config = image["Config"]
    assert config["Entrypoint"] == ["bf-admin"]
    assert config["Cmd"] == ["serve", "--host", "0.0.0.0", "--port", "8080"]  # noqa: S104
    assert config["User"] == "10001:10001"
    for label in ("title", "version", "revision", "licenses"):
        assert config["Labels"][f"org.opencontainers.image.{label}"] not in ("", "unknown", "0+unknown")


def test_no_compiler_and_no_installer_of_the_build_is_in_it() -> None:
    assert _shell("for tool in gcc cc g++ ld as make uv hatchling git; do command -v $tool || true; done") == ""


def test_the_client_of_postgresql_is_18_and_knows_tls(cluster: Cluster) -> None:
    for program in ("pg_dump", "pg_restore"):
        assert _shell(f"{program} --version").startswith(f"{program} (PostgreSQL) 18.")
    # The server here has no TLS: a client without it would refuse the demand itself.
    url = f"{cluster.superuser_dsn('postgres')}?sslmode=require"
    refused = _engine("run", "--rm", *_LOCKED, "--entrypoint", "pg_dump", _IMAGE, url, check=False)
    assert "server does not support SSL, but SSL was required" in refused.stderr


def test_nothing_can_be_written_but_tmp_and_no_capability_is_left() -> None:
    status = _shell("grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs)' /proc/self/status | tr -s '\\t' ' '").splitlines()
    assert status == [
        "Uid: 10001 10001 10001 10001",
        "CapEff: 0000000000000000",
        "CapBnd: 0000000000000000",
        "NoNewPrivs: 1",
    ]
    assert _shell("echo written > /tmp/file && cat /tmp/file") == "written"
    places = "/ /opt /opt/venv /opt/bf-admin /etc /usr /var/tmp"
    assert _shell(f"for place in {places}; do touch $place/x 2>/dev/null && echo $place; done; true") == ""


def test_no_file_of_the_image_is_its_users_to_change() -> None:
    """Also where somebody forgets --read-only."""
    assert _shell(r"find /opt /usr -xdev \( -user 10001 -o -group 10001 -o -perm -o+w ! -type l \)") == ""


def test_it_imports_without_compiling() -> None:
    """Every module has its bytecode, which the service could not write."""
    imports = "python3 -v -c 'import app.main, app.worker, app.cli' 2>&1 | grep -c '^# code object from /' || true"
    assert _shell(imports) == "0"
    assert int(_shell(f"export PYTHONPYCACHEPREFIX=/tmp/none; {imports}")) > 100, "what is counted when there is none"


def test_from_an_empty_database_to_a_tenant(service: Service, image: dict[str, Any]) -> None:
    service.once("upgrade")
    api = service.serve()
    live = service.answers("/livez")
    service.answers("/readyz")
    print(f"start of the container to /livez: {live:.2f} s")  # noqa: T201 -- pytest -v -rP shows it
    _engine("exec", api, *_healthcheck(image), str(service.port))
    key = json.loads(service.once("api-key", "create", "--name", "smoke", "--role", "operator", "--json"))["key"]
    worker = service.start("worker")
    made = httpx.post(
        f"http://127.0.0.1:{service.port}/v1/tenants",
        headers={"Authorization": f"Bearer {key}", "Prefer": "wait=20"},
        json={"tenant_id": "acme_corp", "tenant_name": "ACME"},
        timeout=30,
    )
    assert made.status_code == 201, made.text
    assert made.json()["state"] == "active"
    dump = _engine(
        "exec", worker, "sh", "-c", 'pg_dump --schema-only --schema=bf_acme_corp "$(cat /run/secrets/database_url)"'
    )
    assert dump.stdout.count("CREATE TABLE bf_acme_corp.") == 6
    for name in (api, worker):
        seconds, code = service.stop(name)
        assert code == 0
        assert seconds < 5


def test_the_healthcheck_fails_where_nothing_listens(service: Service, image: dict[str, Any]) -> None:
    worker = service.start("worker")
    assert _engine("exec", worker, *_healthcheck(image), str(free_port()), check=False).returncode == 1


def test_without_its_database_it_lives_but_is_not_ready_and_stops_in_time(service: Service, cluster: Cluster) -> None:
    service.once("upgrade")
    name = service.serve()
    service.answers("/readyz")
    cluster.stop_immediate()
    try:
        service.answers("/livez")
        assert httpx.get(f"http://127.0.0.1:{service.port}/readyz", timeout=10).status_code == 503
        seconds, code = service.stop(name)
        assert code == 0
        assert seconds < 10
    finally:
        cluster.start_again()


def test_an_upgrade_that_waits_is_ended_as_process_1(tmp_path: Path) -> None:
    """The kernel ignores SIGTERM for a process 1 that has no handler."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        running = Service(tmp_path, f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d?sslmode=disable")
        try:
            name = running.start("upgrade")
            silent.settimeout(20)
            with silent.accept()[0]:
                seconds, code = running.stop(name)
        finally:
            running.remove()
    assert code == 128 + signal.SIGTERM
    assert seconds < 5
