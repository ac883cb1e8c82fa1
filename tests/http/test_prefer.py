"""Prefer: what it asks for is a wish, and what nobody understands is no error."""

import time

import pytest

from app.http.prefer import preferred_wait
from tests.support.api import Api

_PATH = "/v1/tenants/acme_corp"


def test_how_long_a_client_wants_to_wait(subtests: pytest.Subtests) -> None:
    for headers, seconds in (
        (["wait=5"], 5), (["WAIT=5"], 5), (["wait = 5"], 5), (['wait="5"'], 5), (["respond-async, wait=5"], 5),
        (["respond-async", "wait=5"], 5), (["wait=5; why=because"], 5), (["wait=0"], 0), (["wait=31"], 30),
        (["wait=999999999"], 30), (["wait=5, wait=9"], 5), (["return=minimal,wait=5,handling=lenient"], 5),
        ([], None), ([""], None), (["wait"], None), (["wait="], None), (["wait=-1"], None), (["wait=soon"], None),
        (["wait=1.5"], None), (["wait=٣"], None), (["awaiting=5"], None), (["wait=5s"], None), (["x" * 9000], None),
        (['note="please, wait=5, if you can"'], None), (['note="a \\" b, wait=5", wait=7'], 7), (["wait=0x5"], None),
        ([",,;;,,"], None), (["=5"], None), (['"wait"=5'], None), (['wait="5'], None), (['wait=5"'], None),
    ):  # fmt: skip
        with subtests.test(str(headers)[:50]):
            assert preferred_wait(headers) == seconds


async def test_preferences_that_nobody_knows_change_nothing(idle_api: Api, subtests: pytest.Subtests) -> None:
    first = await idle_api.client.put(_PATH, json={"tenant_name": "ACME"})
    for prefer in ("return=minimal", "handling=strict", "odata.maxpagesize=5", "wait=-1", "wait=soon", ";;;", '"', "é"):
        with subtests.test(prefer):
            for call in (
                idle_api.client.put(_PATH, json={"tenant_name": "ACME"}, headers=[(b"prefer", prefer.encode())]),
                idle_api.client.get(first.headers["operation-location"], headers=[(b"prefer", prefer.encode())]),
            ):
                answer = await call
                assert answer.json() == first.json()
                assert "preference-applied" not in answer.headers


async def test_a_wait_of_nothing_is_applied_and_over_at_once(idle_api: Api) -> None:
    begun = time.perf_counter()
    answer = await idle_api.client.put(_PATH, json={"tenant_name": "ACME"}, headers={"Prefer": "wait=0"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=0")
    assert time.perf_counter() - begun < 5
