"""bf-admin up: everything in one process, on an embedded database that it starts and stops."""

import asyncio
import os
import re
import signal
import socket
import stat
import sys
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.support.command import command
from tests.support.processes import environment, free_port

_PAGE, _KEY = re.compile(r"page +(http://\S+)"), re.compile(r"admin key +(bfk_\S+)")


async def _up(directory: Path, port: int, env: dict[str, str]) -> tuple[asyncio.subprocess.Process, str, str]:
    """The process, the URL of its page, and the admin key, once it has printed them."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "up", "--data-dir", str(directory), "--port", str(port),
        env=env, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    printed = ""
    try:
        async with asyncio.timeout(40):
            while "Ctrl-C" not in printed:
                line = (await process.stdout.readline()).decode()
                assert line, f"up ended: {printed}"
                printed += line
    except BaseException:
        process.kill()
        raise
    page, key = _PAGE.search(printed), _KEY.search(printed)
    assert page is not None
    assert key is not None
    return process, page[1], key[1]


async def test_up_prints_the_page_and_a_key_that_stays_and_stops_its_database(tmp_path: Path) -> None:
    env = environment("")
    del env["DATABASE_URL"]
    port, keys = free_port(), []
    for start in ("first", "second"):
        process, page, key = await _up(tmp_path / "data", port, env)
        keys.append(key)
        async with httpx.AsyncClient(base_url=page, headers={"X-API-Key": key}, timeout=30) as client:
            assert "Ready" in (await client.get("/")).text
            assert (await client.get("/v1/schema")).json()["up_to_date"] is True
            body = {"tenant_id": start, "tenant_name": start}
            assert (await client.post("/v1/tenants", json=body, headers={"Prefer": "wait=20"})).status_code == 201
            integration = {"endpoint": "https://auth.apg.platform", "credentials": {"token": "t"}}
            put = await client.put(f"/v1/tenants/{start}/integrations/auth_rbac", json=integration)
            assert put.status_code == 201
            listed = (await client.get("/v1/tenants")).json()["items"]
        url = (tmp_path / "data" / "database-url").read_text().strip()
        conn = await asyncpg.connect(url)
        assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == len(listed)
        await conn.close()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await asyncpg.connect(url, timeout=5)
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
