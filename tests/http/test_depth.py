"""How deep a body may be nested, and how large a head may be."""

import json
import random
import secrets
import time
from typing import Any

import pytest

from app.http import depth
from app.http.depth import MAX_DEPTH
from tests.support.api import Api
from tests.support.problems import problem

_JSON = {"Content-Type": "application/json"}


def _depth(value: Any) -> int:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if members is None else 1 + max(map(_depth, members), default=0)


def _nested(generator: random.Random, levels: int) -> Any:
    if levels == 0:
        return generator.choice([1, None, "x", 'a"[{', "\\", '\\"]}', "[" * 70, "é\n"])
    inner = [_nested(generator, generator.randint(0, levels - 1)) for _ in range(generator.randint(0, 2))]
    inner.append(_nested(generator, levels - 1))
    return inner if generator.random() < 0.5 else {f'{n}"[' * n: one for n, one in enumerate(inner)}


def test_the_depth_is_that_of_the_document_whatever_its_strings_hold() -> None:
    seed = secrets.randbits(32)
    print("seed", seed)  # noqa: T201
    generator = random.Random(seed)  # noqa: S311 -- a test's
    for _ in range(60):
        value: Any = _nested(generator, 5)
        for _ in range(generator.randint(MAX_DEPTH - 8, MAX_DEPTH + 3)):
            value = [value] if generator.random() < 0.5 else {"a": value, "b": '"'}
        for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
            assert depth._deeper(text.encode()) is (_depth(value) > MAX_DEPTH)


@pytest.mark.parametrize(
    "unit", [b"[", b"[]", b"[],", b'{"a":', b'"', b'\\"', b'"\\', b'"",', b"\\", b"]", b"{}[", b'"["']
)
def test_a_mebibyte_of_anything_is_looked_through_in_no_time(unit: bytes) -> None:
    begun = time.process_time()
    depth._deeper((unit * 2**20)[: 2**20])
    assert time.process_time() - begun < 1.5


async def test_a_body_nested_too_deep_is_400_and_one_within_the_bound_is_read(
    idle_api: Api, subtests: pytest.Subtests
) -> None:
    for levels, status in ((MAX_DEPTH, 422), (MAX_DEPTH + 1, 400), (900, 400), (5_000, 400), (400_000, 400)):
        for name, raw in (("list", "[" * levels + "]" * levels), ("object", '{"a":' * levels + "1" + "}" * levels)):
            for method, path in (
                ("POST", "/v1/tenants"),
                ("PUT", "/v1/tenants/acme"),
                ("PATCH", "/v1/tenants/acme/config"),
            ):
                if len(raw) > 1_000_000:
                    continue
                with subtests.test(name, levels=levels, path=path):
                    answer = await idle_api.client.request(method, path, content=raw.encode(), headers=_JSON)
                    problem(answer, status, "json_too_deep" if status == 400 else "validation_failed")


async def test_a_body_in_another_encoding_is_no_json(idle_api: Api) -> None:
    """Python's parser would take them, and what counts its brackets would not."""
    text = json.dumps({"tenant_id": "acme", "tenant_name": "A"})
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"):
        answer = await idle_api.client.post("/v1/tenants", content=text.encode(encoding), headers=_JSON)
        problem(answer, 400, "malformed_json")
    assert (await idle_api.client.post("/v1/tenants", content=text.encode(), headers=_JSON)).status_code == 202


async def test_a_head_that_is_too_large_is_431(idle_api: Api) -> None:
    client = idle_api.client
    many = [(f"x-{number}", "1") for number in range(120)]
    problem(await client.get("/v1/tenants", headers=many), 431, "header_too_large")
    problem(await client.get("/v1/tenants", headers={"x-large": "y" * 33_000}), 431, "header_too_large")
    problem(await client.get("/v1/tenants", params={"q": "z" * 33_000}), 431, "header_too_large")
    assert (await client.get("/v1/tenants", headers={"x-large": "y" * 20_000})).status_code == 200
    assert (await client.get("/v1/tenants", headers=many[:80])).status_code == 200
