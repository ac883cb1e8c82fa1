"""Secrets planted wherever one can be put: none comes out again, in answers, logs, the audit trail or the database."""

import base64
import secrets
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from app import keyring
from tests.support.data import make_tenant
from tests.support.processes import bf_admin, environment, served

_KINDS = ("pepper", "token", "header", "query", "body", "endpoint", "reason")
_ENDPOINT = "https://auth.acme.example"
_JSON = {"Content-Type": "application/json"}
_TABLES = """
SELECT format('SELECT %L::text AS name, string_agg(t::text, E''\\n'') AS rows FROM %I.%I t',
              concat(n.nspname, '.', c.relname), n.nspname, c.relname) AS statement
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname IN ('bf_control', 'bf_queue', 'bf_shared') AND c.relkind = 'r'
"""


def _planted() -> dict[str, str]:
    return {kind: f"planted{kind}{secrets.token_hex(16)}" for kind in _KINDS}


async def _stored(conn: asyncpg.Connection) -> dict[str, str]:
    """Every row of the service's own tables, as text."""
    found = {}
    for row in await conn.fetch(_TABLES):
        (held,) = await conn.fetch(row["statement"])
        found[held["name"]] = held["rows"] or ""
    return found


async def _requests(client: httpx.AsyncClient, planted: dict[str, str]) -> list[httpx.Response]:
    """Good ones and bad ones, with a secret wherever a client might put one."""
    own = client.headers["authorization"].removeprefix("Bearer ")
    integration = "/v1/tenants/acme_corp/integrations/auth_rbac"
    endpoint = f"https://user:{planted['endpoint']}@auth.acme.example"
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("PUT", integration, {"json": {"endpoint": _ENDPOINT, "credentials": {"token": planted["token"]}}}),
        ("PUT", integration, {"json": {"endpoint": endpoint}}),
        ("POST", f"{integration}/check", {}),
        ("GET", integration, {}),
        ("GET", "/v1/tenants/acme_corp?view=full", {}),
        ("GET", f"/v1/tenants?password={planted['query']}", {}),
        ("GET", "/v1/tenants", {"headers": {"X-API-Key": planted["header"], "Authorization": ""}}),
        ("GET", "/v1/tenants", {"headers": {"Authorization": f"Bearer {planted['header']}"}}),
        ("GET", "/v1/tenants", {"headers": {"Cookie": f"session={planted['header']}"}}),
        ("GET", "/v1/tenants", {"headers": {"Proxy-Authorization": f"Basic {planted['header']}"}}),
        ("POST", "/v1/tenants", {"json": {"tenant_id": "b1", "tenant_name": "B", "password": planted["body"]}}),
        ("POST", "/v1/tenants", {"content": f'{{"password": "{planted["body"]}"', "headers": _JSON}),
        ("PATCH", "/v1/tenants/acme_corp/config", {"json": {"external_systems": {"a": {"password": planted["body"]}}}}),
        ("POST", "/v1/tenants/acme_corp/suspend", {"json": {"reason": f"postgresql://u:{planted['reason']}@h/d"}}),
        ("DELETE", f"/v1/tenants?all=true&confirmation={planted['query']}", {}),
        ("POST", "/v1/schema/downgrade", {"json": {"confirmation": planted["body"]}}),
        ("GET", "/v1/tenants/acme_corp/config/history", {}),
        ("GET", "/v1/operations", {}),
    ]
    answers = []
    for method, path, more in calls:
        answers.append(await client.request(method, path, **more))
        assert answers[-1].status_code < 500, (method, path, answers[-1].text)
        assert own not in answers[-1].text
    return answers


async def test_no_planted_secret_comes_out(
    dsn: str, conn: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    await make_tenant(conn)
    planted, key = _planted(), keyring.new_key()
    password = dsn.partition("//")[2].partition("@")[0].partition(":")[2]
    env = environment(
        dsn,
        BF_API_KEY_PEPPER=planted["pepper"],
        BF_SECRET_KEYS=key,
        BF_LOG_LEVEL="DEBUG",
    )
    async with served("--with-worker", env=env, directory=tmp_path) as service:
        own = service.client.headers["authorization"].removeprefix("Bearer ")
        answers = await _requests(service.client, planted)
        kept = await service.client.get("/v1/tenants/acme_corp/integrations/auth_rbac")
        assert kept.status_code == 200, "one secret was kept, encrypted"
        scraper = await service.client.post("/v1/api-keys", json={"name": "scraper", "role": "metrics"})
        scraped = await service.client.get("/metrics", headers={"Authorization": f"Bearer {scraper.json()['key']}"})
        assert scraped.status_code == 200
    told = await bf_admin("doctor", "--json", env=env)
    shown = await bf_admin("integrations", "list", "acme_corp", env=env)
    places = {
        "answers": "\n".join(f"{answer.headers}\n{answer.text}" for answer in answers),
        "logs": "\n".join(log.read_text() for log in tmp_path.glob("serve-*.log")),
        "metrics": scraped.text,
        "doctor": told.stdout + told.stderr,
        "command line": shown.stdout + shown.stderr,
        **await _stored(superuser),
    }
    hidden = {**planted, "database password": password, "secret key": key, "admin key": own.partition(".")[2]}
    found = [
        (name, place)
        for name, value in hidden.items()
        for place, text in places.items()
        if value in text or base64.b64encode(value.encode()).decode() in text
    ]
    assert found == []
    assert "acme_corp" in places["logs"], "else nothing would have been looked through"
    assert "acme_corp" in places["bf_control.tenant"]
