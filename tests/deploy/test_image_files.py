"""What the image is built from. The built one is tried by deploy/build-image.sh."""

import asyncio
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.deploy.support import ROOT, variables
from tests.support.processes import environment, free_port, run, serving

pytestmark = pytest.mark.any_postgres

_DOCKERFILE = (ROOT / "Dockerfile").read_text()
# Variables that are read by tests and by the Python client, not by the service.
_OTHERS = {"BF_TEST_POSTGRES", "BF_TEST_FULL", "BF_API_URL", "BF_API_KEY"}


def _instructions(name: str) -> list[str]:
    joined = _DOCKERFILE.replace("\\\n", " ")
    return [line.removeprefix(f"{name} ").strip() for line in joined.splitlines() if line.startswith(f"{name} ")]


async def test_the_tools_of_the_build_are_those_of_the_lock() -> None:
    """`make lock` writes deploy/image/tools.txt; pip, which uv comes by, cannot read uv.lock."""
    uv = Path(sys.executable).parent / "uv"
    exported = await run(
        str(uv), "export", "--quiet", "--frozen", "--offline", "--only-group=image-tools", "--no-annotate",
        "--no-header", env=environment(""), cwd=ROOT,
    )  # fmt: skip
    assert exported.code == 0, exported.stderr
    assert (ROOT / "deploy" / "image" / "tools.txt").read_text() == exported.stdout


def test_what_is_copied_is_sent_to_the_build_and_nothing_else() -> None:
    copied = {
        source
        for copy in _instructions("COPY")
        if "--from=" not in copy
        for source in re.sub(r"--\S+ ", "", copy).split()[:-1]
    }
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in rules
    admitted = {rule[1:] for rule in rules if rule.startswith("!")}
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source.rstrip("/"), pattern) or source.startswith(f"{pattern}/") for pattern in admitted)
    for pattern in admitted:
        assert any(source.rstrip("/") == pattern or source.startswith(f"{pattern}/") for source in copied), pattern


def test_the_process_is_started_without_a_shell_by_a_numeric_user() -> None:
    assert _instructions("ENTRYPOINT") == ['["bf-admin"]']
    assert all(command.startswith("[") for command in _instructions("CMD"))
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", _instructions("USER")[-1]), "runAsNonRoot cannot look up a name"


def test_the_base_can_be_chosen_and_has_a_version() -> None:
    base = _instructions("ARG")[0]
    assert re.fullmatch(r"BASE=python:3\.1[1-9]-slim-[a-z]+", base)
    assert _instructions("FROM") == ["${BASE} AS build", "${BASE}"]


def test_every_variable_that_is_written_of_is_one_the_service_reads(subtests: pytest.Subtests) -> None:
    files = [ROOT / "README.md", ROOT / "Dockerfile", ROOT / "docker-compose.yml", *(ROOT / "docs").rglob("*.md")]
    files += [path for path in (ROOT / "deploy").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for path in files:
        with subtests.test(str(path.relative_to(ROOT))):
            written = set(re.findall(r"\bBF_[A-Z_]*[A-Z]\b(?!_?\*)", path.read_text()))
            assert written <= variables() | _OTHERS


async def test_the_healthcheck_passes_while_the_service_lives_and_fails_otherwise(dsn: str) -> None:
    script = str(ROOT / "deploy" / "image" / "healthcheck.py")
    async with serving(env=environment(dsn), ready=False) as client:
        alive = await run(sys.executable, "-IS", script, str(client.base_url.port), env=environment(dsn))
        assert (alive.code, alive.stderr) == (0, "")
    nobody = await run(sys.executable, "-IS", script, str(free_port()), env=environment(dsn))
    assert nobody.code == 1


async def test_the_healthcheck_fails_where_something_else_answers() -> None:
    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        port = str(server.sockets[0].getsockname()[1])
        script = str(ROOT / "deploy" / "image" / "healthcheck.py")
        assert (await run(sys.executable, "-IS", script, port, env=environment(""))).code == 1
