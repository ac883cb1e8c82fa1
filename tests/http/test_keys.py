"""Idempotency-Key on every POST there is, each by itself."""

from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from app.http import auth
from tests.support.api import Api
from tests.support.problems import problem
from tests.support.tables import counts

_TENANT = {"tenant_id": "acme_corp", "tenant_name": "ACME Corporation"}
# Path and body; a route that is not here has not been thought about.
_POSTS: dict[str, Any] = {
    "/v1/tenants": _TENANT,
    "/v1/schema/upgrade": {},
    "/v1/schema/downgrade": {"confirmation": "none"},
    "/v1/plans/{plan_id}/approve": None,
    "/v1/operations/{operation_id}/cancel": None,
    "/v1/operations/{operation_id}/retry": None,
    "/v1/tenants/batch": {"tenants": [_TENANT]},
    "/v1/schema/verify": None,
    "/v1/schema/repair": {},
    "/v1/tenants/acme_corp/repair": {},
    "/v1/tenants/acme_corp/suspend": {},
    "/v1/tenants/acme_corp/resume": {},
    "/v1/tenants/acme_corp/restore": {},
    "/v1/tenants/acme_corp/purge": {"waive_backup": True},
    "/v1/tenants/acme_corp/backups": {},
    "/v1/tenants/acme_corp/config/rollback": {"version": 1},
    "/v1/tenants/acme_corp/integrations/auth_rbac/check": None,
    "/v1/api-keys": {"name": "n", "role": "viewer"},
    "/v1/api-keys/0000000000000000/rotate": {},
    "/v1/webhooks": {"url": "https://hooks.example.com"},
    "/v1/webhooks/{webhook_id}/rotate": None,
    "/v1/webhooks/{webhook_id}/enable": None,
    "/v1/webhooks/{webhook_id}/test": None,
    "/v1/webhooks/{webhook_id}/replay": {"since": "2026-01-31T09:00:00Z"},
}
# They change nothing.
_WITHOUT = {"/ofrep/v1/evaluate/flags", "/ofrep/v1/evaluate/flags/{key}", "/v1/tenants/acme_corp/verify"}


@pytest.fixture
async def operation(idle_api: Api) -> str:
    """The path of a queued one."""
    answer = await idle_api.client.put("/v1/tenants/queued", json={"tenant_name": "Q"})
    path: str = answer.headers["operation-location"]
    return path


async def _post(api: Api, path: str, body: Any, key: bytes) -> httpx.Response:
    return await api.client.post(path, json=body, headers=[(b"idempotency-key", key)])


async def test_a_key_that_is_none_is_400_at_every_route_and_does_nothing(
    idle_api: Api, superuser: asyncpg.Connection, operation: str, subtests: pytest.Subtests
) -> None:
    # The page's forms bring their own key, hidden: tests/dashboard.
    routes = (route for route in auth.api_routes(idle_api.app) if not route.path.startswith("/ui/"))
    posts = {route.path for route in routes if "POST" in (route.methods or ())}
    of = {"{tenant_id}": "acme_corp", "{capability}": "auth_rbac", "{key_id}": "0" * 16}
    named = {"/".join(of.get(part, part) for part in path.split("/")) for path in posts}
    assert named == _POSTS.keys() | _WITHOUT
    before = await counts(superuser)
    for route, body in _POSTS.items():
        path = route.format(operation_id=operation.rpartition("/")[2], webhook_id=uuid4(), plan_id=uuid4())
        for key in (b"x" * 256, b'"' + b"x" * 256 + b'"', b"x" * 7000, b"", b'""', "clé".encode(), b"a\tb", b"a\x7fb"):
            with subtests.test(f"{route} {key[:9]!r}"):
                problem(await _post(idle_api, path, body, key), 400, "invalid_idempotency_key")
    assert await counts(superuser) == before


async def test_a_key_is_its_route_s_and_its_caller_s_alone(idle_api: Api, operation: str) -> None:
    for path, body, status in (
        ("/v1/tenants", _TENANT, 202),
        (f"{operation}/cancel", None, 200),
        (f"{operation}/retry", None, 202),
        ("/v1/schema/upgrade", {}, 202),
    ):
        first = await _post(idle_api, path, body, b"k" * 255)
        assert first.status_code == status, first.text
        assert "idempotent-replayed" not in first.headers
        again = await _post(idle_api, path, body, b"k" * 255)
        assert (again.status_code, again.content) == (status, first.content)
        assert again.headers["idempotent-replayed"] == "true"
    stranger = {"Authorization": f"Bearer {await idle_api.key(Role.OPERATOR)}", "Idempotency-Key": "k" * 255}
    other = await idle_api.client.post(f"{operation}/cancel", headers=stranger)
    assert other.status_code == 200
    assert "idempotent-replayed" not in other.headers


async def test_the_same_key_for_another_operation_is_another_request(idle_api: Api, operation: str) -> None:
    assert (await _post(idle_api, f"{operation}/cancel", None, b"k1")).status_code == 200
    elsewhere = f"/v1/operations/{uuid4()}/cancel"
    problem(await _post(idle_api, elsewhere, None, b"k1"), 422, "idempotency_key_reused")
    problem(await _post(idle_api, elsewhere, None, b"k2"), 404, "operation_not_found")
