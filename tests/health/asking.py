"""GET /health until it says what is expected."""

from dataclasses import replace
from typing import Any

from tests.support.api import Api
from tests.support.polling import until


async def health(api: Api) -> dict[str, Any]:
    """As it is told at this moment, which may be two intervals ago."""
    answer = await api.client.get("/health")
    assert answer.status_code in {200, 503}, answer.text
    assert answer.headers["content-type"] == "application/health+json"
    told: dict[str, Any] = answer.json()
    assert (answer.status_code == 503) == (told["status"] == "fail")
    return told


async def becomes(api: Api, check: str, status: str, *, within: float = 20) -> dict[str, Any]:
    """The check, once it has that status."""

    async def look() -> dict[str, Any] | None:
        found: dict[str, Any] = (await health(api))["checks"].get(check, {})
        return found if found.get("status") == status else None

    found = await until(look, within=within, what=f"{check} that is {status}")
    assert found is not None
    assert (found["reason"] is None) == (status == "pass")
    return found


def judge_by(api: Api, **thresholds: Any) -> None:
    """What is too much, from now on."""
    api.services.summary.thresholds = replace(api.services.summary.thresholds, **thresholds)
