"""What tests of configuration share."""

from typing import Any

import httpx

from app.config.model import DEFAULTS
from tests.support.api import Api

PATH = "/v1/tenants/acme_corp/config"
# A value of each member that is not its default.
OTHER: dict[str, Any] = {
    "budget_features": {"rolling": True, "rounding": {"digits": 2}},
    "forecast_features": {"horizon": 12},
    "analytics_features": {"boards": ["cash", None]},
    "external_systems": {"erp": {"kind": "sap", "endpoint": "https://erp.acme.example"}},
    "fiscal_year_start": "2026-04-01",
    "default_currency": "EUR",
    "time_zone": "Europe/Berlin",
    "department_hierarchy": {"sales": {"emea": {}, "日本": {}}},
    "cost_centers": [{"code": "CC-100", "share": 0.25}, "other"],
    "approval_workflows": {"budget": ["controller", "cfo"]},
    "data_retention_days": 365,
    "encryption_enabled": False,
    "audit_level": "basic",
}
assert OTHER.keys() == DEFAULTS.keys()


async def get(api: Api, path: str = PATH) -> httpx.Response:
    answer = await api.client.get(path)
    assert answer.status_code == 200, answer.text
    return answer


async def put(api: Api, body: Any, if_match: str | None = "*", **params: str) -> httpx.Response:
    headers = {} if if_match is None else {"If-Match": if_match}
    return await api.client.put(PATH, json=body, headers=headers, params=params)


async def patch(api: Api, body: Any, if_match: str | None = None, **params: str) -> httpx.Response:
    headers = {} if if_match is None else {"If-Match": if_match}
    return await api.client.patch(PATH, json=body, headers=headers, params=params)


async def versions(api: Api, **params: str) -> list[dict[str, Any]]:
    """The newest first."""
    answer = await api.client.get(f"{PATH}/history", params=params)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def rollback(api: Api, version: Any, *, headers: dict[str, str] | None = None, **others: Any) -> httpx.Response:
    params = {name: others.pop(name) for name in ("validate_only",) if name in others}
    body = {"version": version, **others}
    return await api.client.post(f"{PATH}/rollback", json=body, headers=headers or {}, params=params)
