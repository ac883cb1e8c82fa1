"""How often one caller may ask, and a stranger guess; and what it costs who is over it: nothing but the answer."""

import random
import secrets
from pathlib import Path

import httpx
import pytest

from app.apikeys.model import Role
from app.rate import Buckets, Rate
from app.settings import Settings
from tests.support.api import running_api
from tests.support.data import settings_for
from tests.support.problems import problem

_PATH = "/v1/catalog/tiers"
_NOBODY = "bfk_0000000000000000." + "A" * 43


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_its_quota_at_once_then_one_for_each_interval() -> None:
    clock = _Clock()
    buckets = Buckets(Rate(quota=3, window=60), clock=clock)
    taken = [buckets.take("a") for _ in range(4)]
    assert [(one.allowed, one.remaining) for one in taken] == [(True, 2), (True, 1), (True, 0), (False, 0)]
    assert (taken[2].reset, taken[3].retry_after) == (60, 20)
    assert buckets.take("b").allowed, "another's is another"
    clock.now += 19.9
    assert not buckets.take("a").allowed
    clock.now += 0.2
    assert buckets.take("a").allowed
    clock.now += 10_000
    assert [buckets.take("a").remaining for _ in range(3)] == [2, 1, 0]


def test_whatever_the_times_no_window_has_more_than_twice_the_quota_and_a_refusal_is_told_right() -> None:
    seed = secrets.randbits(32)
    print("seed", seed)  # noqa: T201
    generator, clock = random.Random(seed), _Clock()  # noqa: S311 -- a test's
    rate = Rate(quota=7, window=10)
    buckets, allowed = Buckets(rate, clock=clock), []
    for _ in range(3000):
        clock.now += generator.choice([0, 0, 0.01, 0.5, 1.3, 4])
        taken = buckets.take("a")
        if taken.allowed:
            allowed.append(clock.now)
            assert 0 <= taken.remaining < rate.quota
        else:
            assert 1 <= taken.retry_after <= 10
            assert buckets.exhausted("a") is not None
            later = _Clock()
            later.now = clock.now + taken.retry_after
            buckets._clock = later  # type: ignore[misc]
            assert buckets.exhausted("a") is None
            buckets._clock = clock  # type: ignore[misc]
    for start in allowed:
        assert sum(start <= moment < start + rate.window for moment in allowed) <= 2 * rate.quota


def test_strangers_cannot_fill_the_memory() -> None:
    buckets = Buckets(Rate(quota=1, window=60), most=100)
    for number in range(1000):
        buckets.take(str(number))
    assert len(buckets) == 100


@pytest.mark.parametrize("wrong", ["", "600", "600/day", "0/minute", "-1/minute", "1.5/second", "600 / minute", "on"])
def test_a_rate_that_is_none_is_refused_at_the_start(wrong: str) -> None:
    with pytest.raises(ValueError, match="write 600/minute"):
        Rate.parse(wrong)


def _settings(dsn: str, tmp_path: Path, **limits: str) -> Settings:
    return settings_for(dsn, bootstrap_admin_key_file=tmp_path / "admin-key", **limits)


async def test_over_its_quota_a_caller_is_429_and_nobody_else(dsn: str, tmp_path: Path) -> None:
    async with running_api(_settings(dsn, tmp_path, rate_limit="5/hour"), with_worker=False) as api:
        other = {"Authorization": f"Bearer {await api.key(Role.VIEWER)}"}
        left = []
        for _ in range(5):
            answer = await api.client.get(_PATH)
            assert (answer.status_code, answer.headers["ratelimit-policy"]) == (200, '"caller";q=5;w=3600')
            left.append(answer.headers["ratelimit"].split(";")[1])
        # The first was a stranger's until its key was looked up.
        assert left == ["r=4", "r=4", "r=3", "r=2", "r=1"]
        assert (await api.client.get(_PATH)).status_code == 200
        refused = await api.client.get(_PATH)
        problem(refused, 429, "rate_limited")
        assert refused.headers["ratelimit"].startswith('"caller";r=0;t=')
        assert 700 < int(refused.headers["retry-after"]) <= 720
        assert (await api.client.get(_PATH, headers=other)).status_code == 200
        for probe in ("/livez", "/readyz"):
            answer = await api.client.get(probe)
            assert (answer.status_code, "ratelimit" in answer.headers) == (200, False)


async def test_a_429_needs_no_database(dsn: str, tmp_path: Path) -> None:
    async with running_api(_settings(dsn, tmp_path, rate_limit="2/hour"), with_worker=False) as api:
        for _ in range(3):
            assert (await api.client.get(_PATH)).status_code == 200
        await api.database.close()
        problem(await api.client.get(_PATH), 429, "rate_limited")


async def test_who_guesses_keys_is_stopped_by_address_and_who_has_one_is_not(dsn: str, tmp_path: Path) -> None:
    settings = _settings(dsn, tmp_path, auth_failure_limit="3/hour", rate_limit="off")
    async with running_api(settings, with_worker=False) as api:
        fresh = {"Authorization": f"Bearer {await api.key(Role.VIEWER)}"}
        assert (await api.client.get(_PATH)).status_code == 200
        guess = {"Authorization": f"Bearer {_NOBODY}"}
        for _ in range(3):
            problem(await api.client.get(_PATH, headers=guess), 401, "unauthenticated")
        refused = await api.client.get(_PATH, headers=guess)
        problem(refused, 429, "too_many_failures")
        assert 1000 < int(refused.headers["retry-after"]) <= 1200
        problem(await api.client.get(_PATH, headers={"X-API-Key": _NOBODY}), 429, "too_many_failures")
        problem(await api.client.get(_PATH, headers=fresh), 429, "too_many_failures")
        answer = await api.client.get(_PATH)
        assert (answer.status_code, "ratelimit" in answer.headers) == (200, False)
        del api.client.headers["Authorization"]
        problem(await api.client.get(_PATH), 401, "unauthenticated")
        elsewhere = httpx.ASGITransport(api.app, client=("192.0.2.7", 1))
        async with httpx.AsyncClient(transport=elsewhere, base_url="http://test") as other:
            assert (await other.get(_PATH, headers=fresh)).status_code == 200


async def test_a_key_that_ends_is_a_stranger_s_again(dsn: str, tmp_path: Path) -> None:
    settings = _settings(dsn, tmp_path, auth_failure_limit="1/hour")
    async with running_api(settings, with_worker=False) as api:
        key = await api.key(Role.VIEWER)
        headers = {"Authorization": f"Bearer {key}"}
        assert (await api.client.get(_PATH, headers=headers)).status_code == 200
        async with api.database.transaction() as conn:
            await conn.execute("UPDATE bf_control.api_key SET revoked_at = now() WHERE role = 'viewer'")
        statuses = set()
        for _ in range(60):
            statuses.add((await api.client.get(_PATH, headers=headers)).status_code)
            if 429 in statuses:
                break
        assert {401, 429} <= statuses


async def test_addresses_of_one_ipv6_network_are_one(dsn: str, tmp_path: Path) -> None:
    settings = _settings(dsn, tmp_path, auth_failure_limit="1/hour")
    async with running_api(settings, with_worker=False) as api:
        for address, status in (("2001:db8::1", 401), ("2001:db8::ffff:1", 429), ("2001:db8:0:1::1", 401)):
            transport = httpx.ASGITransport(api.app, client=(address, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as stranger:
                answer = await stranger.get(_PATH, headers={"X-API-Key": _NOBODY})
                assert answer.status_code == status, address
