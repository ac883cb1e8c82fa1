"""schemathesis against a served instance: every documented operation, alone and through its links, with all checks."""

import os
import re
import secrets
import sys
from pathlib import Path

import pytest

from app.apikeys.model import Role
from app.settings import Settings
from tests.support.api import running_api
from tests.support.processes import environment, run, served

pytestmark = pytest.mark.any_postgres
_FULL = os.environ.get("BF_TEST_FULL") == "1"
# In all, of each role; an operation's share is told to schemathesis, and it stops before where it has no more ideas.
_CASES = 10_000
# That a valid document is accepted depends on what there is: a tenant can be created only once.
_EXCLUDED = "positive_data_acceptance"


# What is wrong with one tenant of a batch is that item's outcome, and `batch` may be a tenant's id, to GET and change.
_CONFIGURATION = """
[[operations]]
include-path = "/v1/tenants/batch"
checks.negative_data_rejection.enabled = false
checks.allow_header_conformance.enabled = false
"""


async def _fuzz(base_url: str, key: str, directory: Path, *, phases: str, examples: int) -> None:
    """`examples` are those of one operation in a quick run."""
    if _FULL:
        examples = 200
    seed = secrets.randbelow(2**32)
    (directory / "schemathesis.toml").write_text(_CONFIGURATION)
    found = await run(
        str(Path(sys.executable).with_name("st")), "run", f"{base_url}/openapi.json",
        "--header", f"Authorization: Bearer {key}", "--exclude-checks", _EXCLUDED, "--phases", phases,
        "--max-examples", str(examples), "--seed", str(seed), "--no-color", "--continue-on-failure",
        "--request-timeout", "40",
        env=environment(""), cwd=directory, within=3600 if _FULL else 900,
    )  # fmt: skip
    assert found.code == 0, f"seed {seed}\n{found.stdout[-8000:]}\n{found.stderr[-2000:]}"
    tried = re.search(r"(\d+) generated", found.stdout)
    assert tried is not None, found.stdout[-2000:]
    assert not _FULL or int(tried[1]) >= _CASES, found.stdout[-2000:]


async def test_no_case_breaks_what_openapi_json_promises(dsn: str, tmp_path: Path) -> None:
    env = environment(dsn, BF_BACKUP_URL=str(tmp_path / "backups"))
    async with served("--with-worker", env=env, directory=tmp_path) as serving:
        key = serving.client.headers["Authorization"].removeprefix("Bearer ")
        await _fuzz(
            str(serving.client.base_url).rstrip("/"),
            key,
            tmp_path,
            phases="examples,coverage,fuzzing,stateful",
            examples=5,
        )
        assert '"level": "error"' not in serving.log.read_text()


async def test_a_role_that_may_change_nothing_finds_no_way_around(
    settings: Settings, dsn: str, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    async with running_api(settings, with_worker=False) as api:
        keys = {role: await api.key(role) for role in Role if role not in {Role.ADMIN, Role.OPERATOR}}
    async with served("--with-worker", env=environment(dsn), directory=tmp_path) as serving:
        base_url = str(serving.client.base_url).rstrip("/")
        for role, key in keys.items():
            with subtests.test(role.value):
                await _fuzz(base_url, key, tmp_path, phases="examples,fuzzing", examples=2)
        assert (await serving.client.get("/v1/tenants")).json() == {"items": []}
        assert (await serving.client.get("/v1/operations")).json() == {"items": []}
        assert '"level": "error"' not in serving.log.read_text()


async def test_an_operator_breaks_nothing_either(settings: Settings, dsn: str, tmp_path: Path) -> None:
    async with running_api(settings, with_worker=False) as api:
        key = await api.key(Role.OPERATOR)
    async with served("--with-worker", env=environment(dsn), directory=tmp_path) as serving:
        base_url = str(serving.client.base_url).rstrip("/")
        await _fuzz(base_url, key, tmp_path, phases="examples,fuzzing", examples=2)
        assert '"level": "error"' not in serving.log.read_text()
