"""bf-admin up: everything in one process, on an embedded database that it starts and stops."""

import os
import socket
import stat
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.support import up
from tests.support.command import command
from tests.support.processes import free_port


async def test_up_prints_the_page_and_a_key_that_stays_and_stops_its_database(tmp_path: Path) -> None:
    port, keys = free_port(), []
    for start in ("first", "second"):
        running = await up.start(tmp_path / "data", port)
        keys.append(running.key)
        async with httpx.AsyncClient(base_url=running.page, headers={"X-API-Key": running.key}, timeout=30) as client:
            assert "Ready" in (await client.get("/")).text
            assert (await client.get("/v1/schema")).json()["up_to_date"] is True
            body = {"tenant_id": start, "tenant_name": start}
            assert (await client.post("/v1/tenants", json=body, headers={"Prefer": "wait=20"})).status_code == 201
            integration = {"endpoint": "https://auth.apg.platform", "credentials": {"token": "t"}}
            put = await client.put(f"/v1/tenants/{start}/integrations/auth_rbac", json=integration)
            assert put.status_code == 201
            made = await client.post(f"/v1/tenants/{start}/backups", headers={"Prefer": "wait=20"})
            assert made.json()["url"].startswith(str(tmp_path / "data" / "backups")), "a place is there by default"
            listed = (await client.get("/v1/tenants")).json()["items"]
        conn = await asyncpg.connect(running.database_url)
        assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == len(listed)
        await conn.close()
        assert await up.stop(running) == 0
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await asyncpg.connect(running.database_url, timeout=5)
    assert [tenant["tenant_id"] for tenant in listed] == ["first", "second"]
    assert keys[0] == keys[1]
    for secret in ("admin-key", "database-url", "secret-keys"):
        assert stat.S_IMODE(os.stat(tmp_path / "data" / secret).st_mode) == 0o600  # noqa: PTH116


async def test_a_port_in_use_is_told_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        finished = await command("up", "--data-dir", str(tmp_path / "data"), "--port", str(port), env={})
        told = f"bf-admin: port {port} is in use; choose another with --port"
        assert (finished.code, finished.stderr) == (1, f'{told} (make up ARGS="--port …")\n')
        assert not (tmp_path / "data").exists()
        env = {"DATABASE_URL": "postgresql://u@127.0.0.1:1/d"}
        for host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 -- taken too, then
            finished = await command("serve", "--host", host, "--port", str(port), env=env)
            assert (finished.code, finished.stderr) == (1, f"{told}\n")
        finished = await command("serve", "--host", "192.0.2.1", env=env)
        assert (finished.code, "cannot listen on 192.0.2.1 port 8080: " in finished.stderr) == (1, True)
