"""GET /metrics: of this process, and of the database."""

import asyncio
import re
from pathlib import Path

import asyncpg
import pytest

from app.http.auth import api_routes
from app.metrics import model
from tests.metrics.support import Scraper, parsed
from tests.support.api import Api
from tests.support.data import LATEST, make_tenant
from tests.support.polling import ended
from tests.support.problems import problem
from tests.support.promtool import promtool

_DOCUMENT = Path(__file__).parents[2] / "docs/metrics.md"
_ROW = re.compile(r"^\| `([a-z_]+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
_WEBHOOK = "INSERT INTO bf_control.webhook (url, created_by) VALUES ('https://hooks.example/', 'tests')"
_DIE = """
UPDATE bf_control.webhook_delivery SET status = 'dead'
 WHERE id IN (SELECT id FROM bf_control.webhook_delivery ORDER BY queued_at LIMIT 1)
"""


async def _busy(api: Api, conn: asyncpg.Connection) -> None:
    """One of each: a tenant, its operation, an event that waits and one that was given up."""
    await conn.execute(_WEBHOOK)
    assert (await api.provision()).status_code == 201
    await conn.execute(_DIE)


async def test_promtool_finds_no_fault_and_every_series_is_documented(api: Api, conn: asyncpg.Connection) -> None:
    await _busy(api, conn)
    scraper = await Scraper.of(api)
    await scraper()
    scrape = await scraper()
    promtool("check", "metrics", reading=scrape.text.encode())
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in _documented()}
    shown = {
        family.name + ("_total" if family.type == "counter" else ""): family for family in scrape.families.values()
    }
    assert documented.keys() == {name for name in shown if name.startswith("bf_")}
    for name, (kind, labels) in documented.items():
        assert shown[name].type == kind, name
        for sample in shown[name].samples:
            assert sample.labels.keys() - {"le"} == labels, name


def _documented() -> list[tuple[str, str, str]]:
    return _ROW.findall(_DOCUMENT.read_text())


async def test_openmetrics_is_spoken_to_who_asks_for_it(idle_api: Api) -> None:
    scraper = await Scraper.of(idle_api)
    plain = await scraper.get()
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    open_metrics = await scraper.get(Accept="application/openmetrics-text; version=1.0.0")
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert open_metrics.text.endswith("# EOF\n")


async def test_only_the_role_metrics_may_scrape(idle_api: Api) -> None:
    problem(await idle_api.client.get("/metrics"), 403, "forbidden")
    problem(await idle_api.client.get("/metrics", headers={"Authorization": ""}), 401, "unauthenticated")


async def test_requests_are_counted_by_route_template_method_and_class(idle_api: Api) -> None:
    scraper = await Scraper.of(idle_api)
    for path in ("acme_corp", "nobody", "x' OR 1=1"):
        await idle_api.client.get(f"/v1/tenants/{path}")
    for path in ("/", "/wp-login.php", "/v1/nothing", "/v1/tenants/a/b/c/d", "/%00"):
        await idle_api.client.request("BREW" if path == "/v1/nothing" else "GET", path)
    await idle_api.client.head("/v1/operations")
    await idle_api.client.post("/v1/tenants", content="{")
    scrape = await scraper()

    def count(method: str, route: str, status: str) -> float | None:
        return scrape.value("bf_http_requests_total", method=method, route=route, status=status)

    assert count("GET", "/v1/tenants/{tenant_id}", "4xx") == 3
    assert count("GET", "unmatched", "4xx") == 3
    assert count("other", "unmatched", "4xx") == 1
    assert count("GET", "/", "2xx") == 1
    assert count("HEAD", "/v1/operations", "2xx") == 1
    assert count("POST", "/v1/tenants", "4xx") == 1
    counted = scrape.value("bf_http_request_duration_seconds_count", method="GET", route="/v1/tenants/{tenant_id}")
    assert counted == 3
    assert scrape.value("bf_http_requests_in_progress") == 1  # the scrape itself
    assert "acme_corp" not in scrape.text


async def test_a_request_that_is_refused_before_its_route_is_counted(idle_api: Api) -> None:
    scraper = await Scraper.of(idle_api)
    refused = await idle_api.client.post("/v1/tenants", content=b"x", headers={"Content-Length": str(2**30)})
    assert refused.status_code == 413
    assert (await scraper()).value("bf_http_requests_total", route="unmatched", status="4xx", method="POST") == 1


def test_a_route_s_label_is_its_template(idle_app_routes: list[tuple[str | None, str | None]]) -> None:
    assert idle_app_routes
    for template, label in idle_app_routes:
        assert template == label


@pytest.fixture(scope="module")
def idle_app_routes() -> list[tuple[str | None, str | None]]:
    from app.main import create_app
    from app.settings import Settings

    return [
        (route.path, getattr(route.original_route, "path_format", None)) for route in api_routes(create_app(Settings()))
    ]


async def test_tenants_are_counted_by_state_version_and_tier(idle_api: Api, conn: asyncpg.Connection) -> None:
    for number in range(3):
        await make_tenant(conn, f"t{number}")
    await conn.execute("SELECT bf_shared.suspend_tenant('t0', 'tests')")
    await idle_api.client.post("/v1/tenants", json={"tenant_id": "waits", "tenant_name": "W"})
    await conn.execute("UPDATE bf_control.tenant SET schema_version = $1 WHERE tenant_id = 't1'", LATEST - 1)
    scrape = await (await Scraper.of(idle_api))()
    latest = str(LATEST)
    assert scrape.value("bf_tenants", state="active", schema_version=latest, tier="standard") == 1
    assert scrape.value("bf_tenants", state="active", schema_version=str(LATEST - 1)) == 1
    assert scrape.value("bf_tenants", state="suspended", schema_version=latest) == 1
    assert scrape.value("bf_tenants", state="provisioning", schema_version="") == 1
    assert scrape.value("bf_tenants_behind") == 1


async def test_what_waits_for_a_worker_is_told_with_its_age(idle_api: Api, conn: asyncpg.Connection) -> None:
    scraper = await Scraper.of(idle_api)
    before = await scraper()
    assert (before.value("bf_queue_jobs", status="queued"), before.value("bf_queue_oldest_job_age_seconds")) == (0, 0)
    for number in range(3):
        await idle_api.client.post("/v1/tenants", json={"tenant_id": f"t{number}", "tenant_name": "T"})
    await conn.execute("UPDATE bf_queue.pgqueuer SET execute_after = now() - interval '90 s' WHERE id = 1")
    await conn.execute("UPDATE bf_queue.pgqueuer SET execute_after = now() + interval '90 s' WHERE id = 2")
    scrape = await scraper()
    assert scrape.value("bf_queue_jobs", status="queued") == 3
    assert 90 <= (scrape.value("bf_queue_oldest_job_age_seconds") or 0) < 120
    assert scrape.value("bf_operations_unfinished", kind="tenant.provision", status="queued") == 3
    await conn.execute("UPDATE bf_queue.pgqueuer SET execute_after = now() + interval '90 s'")
    assert (await scraper()).value("bf_queue_oldest_job_age_seconds") == 0, "put off is not late"


async def test_what_is_not_sealed_or_delivered_is_told(idle_api: Api, conn: asyncpg.Connection) -> None:
    await conn.execute(_WEBHOOK)
    for number in range(3):
        await make_tenant(conn, f"t{number}")
    await conn.execute(_DIE)
    scrape = await (await Scraper.of(idle_api))()
    pending, dead = (scrape.value("bf_webhook_deliveries", status=status) for status in ("pending", "dead"))
    assert (pending or 0) > 0
    assert dead == 1
    assert (scrape.value("bf_audit_unsealed_records") or 0) > 0
    assert 0 < (scrape.value("bf_audit_seal_lag_seconds") or 0) < 60
    assert 0 < (scrape.value("bf_webhook_oldest_pending_age_seconds") or 0) < 60


async def test_what_collectors_have_seen_is_told_of_the_largest_tenants_alone(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    await conn.execute(
        """INSERT INTO bf_control.schema_snapshot
                  (tenant_id, taken_at, measured_at, total_bytes, heap_bytes, index_bytes, toast_bytes, live_rows,
                   dead_rows, table_count, index_count, invalid_indexes, unused_indexes, missing_tables,
                   missing_indexes, open_tables)
           SELECT 't' || n, now(), now(), n * 1000, 0, 0, 0, n, 0, 6, 14, 0, 0, '{}', '{}', '{}'
             FROM generate_series(1, 50) n"""
    )
    await conn.execute(
        "INSERT INTO bf_control.collection (collector, succeeded_at) VALUES ('tenants', to_timestamp(1000))"
    )
    scrape = await (await Scraper.of(idle_api))()
    named = {sample.labels["tenant_id"] for sample in scrape.families["bf_tenant_size_bytes"].samples}
    assert named == {f"t{number}" for number in range(31, 51)}
    assert scrape.value("bf_tenant_rows", tenant_id="t50") == 50
    assert scrape.value("bf_collector_last_success_timestamp_seconds", collector="tenants") == 1000


async def test_scrapes_ask_the_database_once_in_three_seconds_however_many_there_are(idle_api: Api) -> None:
    scraper = await Scraper.of(idle_api)
    await scraper.get()
    use = idle_api.database.use
    taken = sum(use.acquired.counts)
    answers = await asyncio.gather(*(scraper.get() for _ in range(30)))
    assert {answer.status_code for answer in answers} == {200}
    # The key is read again while the process does not listen for changes of keys yet.
    assert sum(use.acquired.counts) - taken <= 2


async def test_a_full_pool_is_told_by_who_waits_and_who_was_refused(idle_api: Api) -> None:
    scraper = await Scraper.of(idle_api)
    await scraper()
    held = [await idle_api.database.pool.acquire() for _ in range(idle_api.database.state.most)]
    try:
        waiting = [asyncio.create_task(idle_api.client.get("/v1/operations")) for _ in range(5)]
        await asyncio.sleep(0.2)
        full = parsed((await scraper.get()).text)
        assert full.value("bf_db_pool_connections", pool="requests", state="used") == len(held)
        assert full.value("bf_db_pool_connections", pool="requests", state="idle") == 0
        assert full.value("bf_db_pool_connections_max", pool="requests") == len(held)
        assert (full.value("bf_db_pool_waiting", pool="requests") or 0) >= 5
        for answer in await asyncio.gather(*waiting):
            problem(answer, 503)
    finally:
        for conn in held:
            await idle_api.database.pool.release(conn)
    after = await scraper()
    assert (after.value("bf_db_pool_refused_total", pool="requests") or 0) >= 5
    assert after.value("bf_db_pool_waiting", pool="requests") == 0
    assert after.value("bf_database_up") == 1


async def test_operations_are_counted_by_kind_and_outcome_with_their_durations(
    api: Api, conn: asyncpg.Connection
) -> None:
    scraper = await Scraper.of(api)
    assert (await scraper()).total("bf_operations_total") == 0
    assert (await api.provision()).status_code == 201
    await conn.execute("DROP FUNCTION bf_shared.setup_tenant(text, text, text)")
    failing = await api.client.post("/v1/tenants", json={"tenant_id": "broken", "tenant_name": "B"})
    assert (await ended(api.client, failing.headers["operation-location"]))["status"] == "failed"
    scrape = await scraper()
    for outcome in ("succeeded", "failed"):
        labels = {"kind": "tenant.provision", "outcome": outcome}
        assert scrape.value("bf_operations_total", **labels) == 1
        assert scrape.value("bf_operation_duration_seconds_count", **labels) == 1
        assert scrape.value("bf_operation_duration_seconds_bucket", le="+Inf", **labels) == 1
        assert 0 < (scrape.value("bf_operation_duration_seconds_sum", **labels) or 0) < 30


async def test_the_bounds_are_those_of_the_database(conn: asyncpg.Connection) -> None:
    bucket = "SELECT bf_control.operation_bucket($1)"
    for bound in model.BOUNDS:
        assert await conn.fetchval(bucket, bound) == bound
        assert await conn.fetchval(bucket, bound * 0.999) == bound
    below = (0.0, *model.BOUNDS)
    for lower, bound in zip(below, (*model.BOUNDS, float("inf")), strict=True):
        assert await conn.fetchval(bucket, lower + 0.0001) == bound
