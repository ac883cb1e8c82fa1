"""The examples of docs/client.md, in their order, against a served instance."""

import re
import sys
from pathlib import Path

import pytest

from tests.client.conftest import Service
from tests.support.processes import environment, run

_GUIDE = Path(__file__).parents[2] / "docs/client.md"
# What each one's output begins with.
_SAID = (
    ["bf_client_corp active"],
    ["pass"],
    ["client_eu", "client_corp"],
    [],
    ["5 ['/budget_features/rolling']", "6"],
    ["https://auth.example.com False", "auth_rbac False True"],
    [],
    ["1 queued 0", "2 running 1", "3 succeeded 1", "operation_finished"],
    ["pass"],
    ["500 default ()"],
    ["True"],
)


async def test_its_examples_work(service: Service, subtests: pytest.Subtests) -> None:
    examples = re.findall(r"```python\n(.*?)```", _GUIDE.read_text(), re.S)
    assert len(examples) == len(_SAID)
    env = environment(service.dsn, BF_API_URL=service.url, BF_API_KEY=service.key)
    for number, (example, said) in enumerate(zip(examples, _SAID, strict=True)):
        with subtests.test(f"example {number}"):
            await _runs(example, said, env)


async def _runs(example: str, said: list[str], env: dict[str, str]) -> None:
    finished = await run(sys.executable, "-W", "error", "-c", example, env=env)
    assert finished.code == 0, finished.stderr
    assert finished.stderr == ""
    lines = finished.stdout.splitlines()
    assert lines[: len(said)] == said
