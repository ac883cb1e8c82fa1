"""Spans, as a collector is sent them: from the request, in this process, through the job, in another, to the SQL."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from starlette.requests import Request
from starlette.responses import Response
from structlog.testing import capture_logs

from app.log import trace_id, with_ids
from app.settings import Settings
from tests.support.api import Api, running_api
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.processes import environment, logged

_TRACE, _CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
_SECRET = "planted-in-a-parameter"


@dataclass(slots=True)
class Collector:
    """What every process has sent."""

    url: str
    spans: list[Span] = field(default_factory=list)
    services: set[str] = field(default_factory=set)

    def of(self, trace: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id.hex() == trace]

    def one(self, trace: str, name: str) -> Span | None:
        found = [span for span in self.of(trace) if span.name == name]
        assert len(found) <= 1, found
        return found[0] if found else None

    async def take(self, scope: Any, receive: Any, send: Any) -> None:
        """POST /v1/traces"""
        request = Request(scope, receive)
        assert (request.method, request.url.path) == ("POST", "/v1/traces")
        for of_resource in ExportTraceServiceRequest.FromString(await request.body()).resource_spans:
            self.services |= {a.value.string_value for a in of_resource.resource.attributes if a.key == "service.name"}
            for of_scope in of_resource.scope_spans:
                self.spans += of_scope.spans
        await Response(media_type="application/x-protobuf")(scope, receive, send)


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    port = free_port()
    collector = Collector(url=f"http://127.0.0.1:{port}")
    config = uvicorn.Config(collector.take, port=port, lifespan="off", interface="asgi3", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 -- uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield collector
    finally:
        server.should_exit = True
        await serving


def _variables(collector: Collector) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}


def _attributes(span: Span) -> dict[str, Any]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def _statements(spans: list[Span]) -> list[str]:
    return [str(_attributes(span)["db.query.text"]) for span in spans if "db.query.text" in _attributes(span)]


async def test_a_request_its_job_in_another_process_and_their_statements_are_one_trace(
    settings: Settings, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "worker.log"
    async with collecting() as collector:
        for name, value in _variables(collector).items():
            monkeypatch.setenv(name, value)
        env = environment(dsn, **_variables(collector))
        async with running_api(settings, with_worker=False) as api, logged("worker", env=env, log=log):
            created = await api.client.post(
                "/v1/tenants",
                json={"tenant_id": "acme_corp", "tenant_name": _SECRET},
                headers={"traceparent": f"00-{_TRACE}-{_CALLER}-01"},
            )
            operation = created.json()["id"]

            async def whole() -> bool:
                job = collector.one(_TRACE, "run tenant.provision")
                return job is not None and collector.one(_TRACE, "POST /v1/tenants") is not None

            await until(whole, within=60, what="both spans")
            ended = await api.client.get(f"/v1/operations/{operation}")
            assert ended.json()["status"] == "succeeded"
            await api.client.get("/livez")
            await api.client.get("/v1/tenants/acme_corp", params={"view": _SECRET})

            async def again() -> bool:
                return any(span.name == "GET /v1/tenants/{tenant_id}" for span in collector.spans)

            await until(again, what="the next request's span")
    request, job = collector.one(_TRACE, "POST /v1/tenants"), collector.one(_TRACE, "run tenant.provision")
    assert request is not None
    assert job is not None
    assert request.parent_span_id.hex() == _CALLER
    assert (request.kind, job.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CONSUMER)
    assert job.parent_span_id == request.span_id
    assert _attributes(job)["bf.operation.id"] == operation
    assert _attributes(job)["bf.tenant.id"] == "acme_corp"
    _assert_statements(collector, request, job)
    queries = {_attributes(span).get("url.query") for span in collector.spans} - {None}
    assert queries == {"view=REDACTED"}
    assert collector.services == {"apg-bf-tenant-admin"}
    assert not [span.name for span in collector.spans if "livez" in span.name]
    roots = {span.name for span in collector.spans if not span.parent_span_id}
    own = {"GET /v1/tenants/{tenant_id}", "GET /v1/operations/{operation_id}"}
    assert roots == own, "what nobody asked for is no span"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (told,) = (line for line in lines if line["event"] == "operation_succeeded")
    assert (told["operation_id"], told["tenant_id"], told["trace_id"]) == (operation, "acme_corp", _TRACE)
    assert told["request_id"] == created.headers["x-request-id"]


def _assert_statements(collector: Collector, request: Span, job: Span) -> None:
    below_request, below_job = (
        [span for span in collector.spans if span.parent_span_id == parent.span_id] for parent in (request, job)
    )
    asked, done = _statements(below_request), _statements(below_job)
    assert any("INSERT INTO bf_control.operation" in text for text in asked), asked
    assert any("setup_tenant($1" in text for text in done), done
    assert any(text.startswith("COMMIT") for text in done), done
    assert not [text for text in asked + done if _SECRET in text]
    for span in below_job:
        assert job.start_time_unix_nano <= span.end_time_unix_nano
        assert span.start_time_unix_nano <= span.end_time_unix_nano


async def test_a_failed_job_and_a_failed_statement_are_told_as_such(
    settings: Settings, conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await conn.execute("DROP FUNCTION bf_shared.setup_tenant(text, text, text)")
    async with collecting() as collector:
        for name, value in _variables(collector).items():
            monkeypatch.setenv(name, value)
        async with running_api(settings, with_worker=True) as api:
            await api.provision()

            async def failed() -> bool:
                return any(span.name == "run tenant.provision" for span in collector.spans)

            await until(failed, what="the job's span")
    jobs = [span for span in collector.spans if span.name == "run tenant.provision"]
    assert {span.status.code for span in jobs} == {Status.STATUS_CODE_ERROR}
    assert all(_attributes(span)["error.type"] for span in jobs)
    statements = [span for span in collector.spans if _attributes(span).get("error.type") == "42883"]
    assert statements, "undefined_function"


async def test_values_in_the_text_of_a_statement_are_not_told() -> None:
    from app.otel import _text

    assert _text("SET LOCAL ROLE 'it''s' -- x", parameters=False) == "SET LOCAL ROLE '?' -- x"
    assert _text("SELECT 'queued', $1", parameters=True) == "SELECT 'queued', $1"


async def test_the_request_s_own_line_names_what_it_is_about(idle_api: Api) -> None:
    with capture_logs(processors=[with_ids]) as lines:
        created = await idle_api.client.post("/v1/tenants", json={"tenant_id": "acme_corp", "tenant_name": "A"})
        operation = created.json()["id"]
        await idle_api.client.get(f"/v1/operations/{operation}")
        await idle_api.client.get("/v1/tenants/acme_corp")
        await idle_api.client.get("/v1/tenants")
    of = [line for line in lines if line["event"] == "request"]
    assert [(line.get("tenant_id"), line.get("operation_id")) for line in of] == [
        ("acme_corp", operation),
        (None, operation),
        ("acme_corp", None),
        (None, None),
    ]
    assert all(line["request_id"] for line in of)


@pytest.mark.any_postgres
def test_without_the_variables_nothing_of_it_is_loaded() -> None:
    """Nor by a worker: what costs nothing must not be there."""
    script = (
        "import sys, app.worker, app.main; from app.settings import Settings; app.main.create_app(Settings());"
        "loaded = ('opentelemetry.sdk', 'opentelemetry.exporter', 'app.otel');"
        "sys.exit(any(name.startswith(loaded) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


def test_a_trace_is_known_by_its_traceparent() -> None:
    assert trace_id(f"00-{_TRACE}-{_CALLER}-01") == _TRACE
    assert trace_id(None) is None
