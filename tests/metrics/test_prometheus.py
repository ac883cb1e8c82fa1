"""Prometheus itself, with the configuration of deploy/, scrapes a process and evaluates all that is asked of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.processes import environment, served
from tests.support.promtool import program

pytestmark = pytest.mark.any_postgres

_DEPLOY: Final = Path(__file__).parents[2] / "deploy"


@asynccontextmanager
async def _prometheus(directory: Path, *, target: str, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """The shipped configuration, but for where and how often."""
    (directory / "key").write_text(key)
    config = (_DEPLOY / "prometheus/prometheus.yml").read_text()
    for shipped, here in (
        ("/etc/prometheus/bf-metrics-key", str(directory / "key")),
        ("127.0.0.1:8080", target),
        ("interval: 15s", "interval: 1s"),
    ):
        assert shipped in config
        config = config.replace(shipped, here)
    (directory / "prometheus.yml").write_text(config)
    (directory / "alerts.yml").write_text((_DEPLOY / "prometheus/alerts.yml").read_text())
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        program("prometheus"),
        f"--config.file={directory}/prometheus.yml",
        f"--storage.tsdb.path={directory}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=20) as client:
            yield client
    finally:
        process.kill()
        await process.wait()


async def test_prometheus_scrapes_evaluates_and_rings_nothing_of_a_healthy_service(dsn: str, tmp_path: Path) -> None:
    async with served("--with-worker", env=environment(dsn), directory=tmp_path) as service:
        made = await service.client.post("/v1/api-keys", json={"name": "prometheus", "role": "metrics"})
        assert made.status_code == 201, made.text
        address = f"127.0.0.1:{service.client.base_url.port}"
        async with _prometheus(tmp_path, target=address, key=made.json()["key"]) as prometheus:

            async def scraped() -> bool:
                return bool(await _ask(prometheus, 'bf_database_up{job="bf-api"} == 1'))

            await until(scraped, within=60, what="a scrape")
            for expression in _dashboard():
                await _ask(prometheus, expression)

            async def evaluated() -> list[dict[str, Any]]:
                groups = (await prometheus.get("/rules")).json()["data"]["groups"]
                rules = [rule for group in groups for rule in group["rules"]]
                return rules if all(rule["health"] != "unknown" for rule in rules) else []

            for rule in await until(evaluated, within=30, what="an evaluation"):
                assert rule["health"] == "ok", rule
                assert rule["state"] == "inactive", rule


def _dashboard() -> list[str]:
    panels = json.loads((_DEPLOY / "grafana/tenants.json").read_text())["panels"]
    shown = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return [expression.replace("$job", "bf-api").replace("$__rate_interval", "1m") for expression in shown]


async def _ask(prometheus: httpx.AsyncClient, expression: str) -> list[Any]:
    try:
        answer = await prometheus.get("/query", params={"query": expression})
    except httpx.TransportError:
        return []  # it is starting
    if answer.status_code == 503:
        return []
    assert answer.status_code == 200, f"{expression}: {answer.text}"
    found: list[Any] = answer.json()["data"]["result"]
    return found
