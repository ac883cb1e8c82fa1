"""Destruction as clients have it done: a plan, and its confirmation."""

from typing import Any

import httpx


async def planned(client: httpx.AsyncClient, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """A plan that was offered."""
    response = await client.post(path, json=body or {})
    assert response.status_code == 200, response.text
    plan: dict[str, Any] = response.json()
    assert plan["confirmation"]
    return plan


async def confirmed(client: httpx.AsyncClient, path: str, headers: Any = None, **body: Any) -> httpx.Response:
    """What is answered to a confirmation; or to the plan, where that is refused."""
    response = await client.post(path, json=body)
    if response.status_code != 200:
        return response
    return await client.post(path, json={**body, "confirmation": response.json()["confirmation"]}, headers=headers)
