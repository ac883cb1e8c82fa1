"""The examples of docs/client.md, in their order, against a served instance."""

import re
import secrets
import sys
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.processes import environment, run, served

_GUIDE = Path(__file__).parents[2] / "docs/client.md"
_SAID = (
    ["bf_acme_corp active"],
    ["pass"],
    ["acme_eu", "acme_corp", "2 None"],
    [],
    ["1 queued 0", "2 running 1", "3 succeeded 1", "operation_finished"],
    ["pass"],
)


async def test_its_examples_work(cluster: Cluster, template: str, tmp_path: Path, subtests: pytest.Subtests) -> None:
    examples = re.findall(r"```python\n(.*?)```", _GUIDE.read_text(), re.S)
    assert len(examples) == len(_SAID)
    name = f"guide_{secrets.token_hex(6)}"
    dsn = await cluster.create_database(name, template=template)
    async with served("--with-worker", env=environment(dsn), directory=tmp_path) as running:
        key = running.client.headers["Authorization"].removeprefix("Bearer ")
        env = environment(dsn, BF_API_URL=str(running.client.base_url), BF_API_KEY=key)
        for number, (example, said) in enumerate(zip(examples, _SAID, strict=True)):
            with subtests.test(f"example {number}"):
                await _runs(example, said, env)
    await cluster.drop_database(name)


async def _runs(example: str, said: list[str], env: dict[str, str]) -> None:
    finished = await run(sys.executable, "-W", "error", "-c", example, env=env)
    assert finished.code == 0, finished.stderr
    assert finished.stderr == ""
    lines = finished.stdout.splitlines()
    assert lines[: len(said)] == said
