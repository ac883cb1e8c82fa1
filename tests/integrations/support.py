"""Keys, documents and paths of these tests."""

import base64
from typing import Any

import httpx

from tests.support.api import Api

KEY = base64.b64encode(b"k" * 32).decode()
OTHER_KEY = base64.b64encode(b"o" * 32).decode()
PATH = "/v1/tenants/acme_corp/integrations"
ENDPOINT = "https://auth.apg.platform"

# As before integrations were checked: what SQL stored then may still be there.
AS_BEFORE = "ALTER TABLE bf_shared.tenant_config DISABLE TRIGGER tenant_integrations_check"
AS_NOW = AS_BEFORE.replace("DISABLE", "ENABLE")

# The guide's example, and what there is beside it.
GUIDE: dict[str, dict[str, Any]] = {
    "auth_rbac": {"enabled": True, "endpoint": ENDPOINT},
    "audit_compliance": {"enabled": True, "level": "detailed"},
    "ai_orchestration": {"enabled": True, "models": ["forecasting", "variance_analysis"]},
}
DOCUMENTS = {
    **GUIDE,
    "document_management": {"enabled": False, "endpoint": "https://8.8.8.8:8443/v1?region=eu"},
    "notification_engine": {"endpoint": None},
}


async def put(api: Api, capability: str, body: Any, etag: str | None = None, **params: str) -> httpx.Response:
    """With the ETag of what is there, unless another is given."""
    path = f"{PATH}/{capability}"
    if etag is None:
        etag = (await api.client.get(path)).headers.get("etag")
    headers = {} if etag is None else {"If-Match": etag}
    return await api.client.put(path, json=body, headers=headers, params=params)


async def get(api: Api, capability: str) -> dict[str, Any]:
    answer = await api.client.get(f"{PATH}/{capability}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document
