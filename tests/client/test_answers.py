"""How answers are read: newer services, proxies, strangers; and what is never shown."""

import re
import secrets
import traceback
from types import FrameType

import pytest
from starlette.responses import Response

from app.client import (
    ApiError,
    AsyncClient,
    Client,
    ConfigurationError,
    ConnectionFailed,
    OperationCancelled,
    OperationFailed,
    Unavailable,
    UnexpectedAnswer,
)
from tests.client.conftest import Connect
from tests.client.support import Scripted, answer, broken_line, operation, refusal, tenant
from tests.support.ports import free_port


async def test_what_a_newer_service_adds_does_not_hurt_and_is_kept(connect: Connect, script: Scripted) -> None:
    script.answer(answer(tenant(state="hibernating", colour="red")))
    read = await connect(script.url).tenants.get("acme_corp")
    assert read.state == "hibernating"
    assert read.model_extra == {"colour": "red"}


async def test_a_model_does_not_change(connect: Connect, script: Scripted) -> None:
    script.answer(answer(tenant()))
    read = await connect(script.url).tenants.get("acme_corp")
    with pytest.raises(ValueError, match="frozen"):
        read.tenant_name = "B"


async def test_a_refusal_says_all_that_the_problem_does(connect: Connect, script: Scripted) -> None:
    problem = {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "It is deleted.",
        "code": "state_forbids",
        "request_id": "r-1",
        "errors": [{"pointer": "/x", "detail": "is wrong"}],
        "allowed": ["restore"],
    }
    script.answer(answer(problem, 409))
    with pytest.raises(ApiError) as caught:
        await connect(script.url).operations.cancel("7")
    error = caught.value
    assert (error.status, error.code, error.title, error.detail) == (409, "state_forbids", "Conflict", "It is deleted.")
    assert (error.request_id, error.errors[0].pointer) == ("r-1", "/x")
    assert error.problem.model_extra == {"allowed": ["restore"]}
    assert str(error) == "409 state_forbids: It is deleted.; /x: is wrong (request r-1)"


async def test_a_proxys_refusal_is_one_too(connect: Connect, script: Scripted) -> None:
    script.answer(Response("<html>Bad gateway</html>", 502, {"X-Request-ID": "r-2"}))
    with pytest.raises(Unavailable, match="502 http_502: Bad Gateway") as caught:
        await connect(script.url, retry_for=0).tenants.get("acme_corp")
    assert caught.value.request_id == "r-2"


@pytest.mark.parametrize("body", ["<html>Welcome</html>", "[]", '{"tenant_id": 7}'])
async def test_a_success_of_somebody_else_is_told_apart(connect: Connect, script: Scripted, body: str) -> None:
    script.answer(Response(body))
    with pytest.raises(UnexpectedAnswer, match="GET /v1/tenants/acme_corp answered 200 with what is no Tenant"):
        await connect(script.url).tenants.get("acme_corp")


@pytest.mark.parametrize(("status", "kind"), [("failed", OperationFailed), ("cancelled", OperationCancelled)])
async def test_work_that_ended_otherwise_is_an_error_with_the_operation(
    connect: Connect, script: Scripted, status: str, kind: type[Exception]
) -> None:
    why = {"title": "Locked", "status": 503, "detail": "A lock.", "code": "database_busy"}
    script.answer(answer(operation(status, error=why), 202))
    with pytest.raises(kind, match=f"tenant.provision\\) {status}: 503 database_busy: A lock.") as caught:
        await connect(script.url).tenants.create("acme_corp", "ACME")
    assert caught.value.operation.status == status
    assert caught.value.problem.code == "database_busy"


async def test_a_tenant_made_on_the_spot_has_an_operation_too(connect: Connect, script: Scripted) -> None:
    done = operation("succeeded")
    script.answer(answer(tenant(), 201, Operation_Location=f"/v1/operations/{done['id']}"), answer(done))
    accepted = await connect(script.url).tenants.create("acme_corp", "ACME", wait=False)
    assert (str(accepted.id), accepted.status) == (done["id"], "succeeded")
    assert "prefer" not in script.seen[0].headers


async def test_ids_stay_one_segment_of_the_path(connect: Connect, script: Scripted) -> None:
    script.answer(answer(tenant()))
    client = connect(script.url)
    await client.tenants.get("../operations/1?x=y#z")
    assert (script.seen[0].path, script.seen[0].query) == ("/v1/tenants/..%2Foperations%2F1%3Fx%3Dy%23z", {})
    for impossible in ("", ".", ".."):
        with pytest.raises(ConfigurationError, match="is no id"):
            await client.tenants.get(impossible)


async def test_a_trace_is_carried_by_the_client_that_was_told(connect: Connect, script: Scripted) -> None:
    script.answer(answer(tenant()))
    client = connect(script.url)
    trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    await client.traced(traceparent=trace, request_id="mine").tenants.get("acme_corp")
    await client.tenants.get("acme_corp")
    first, second = (seen.headers for seen in script.seen)
    assert (first["traceparent"], first["x-request-id"]) == (trace, "mine")
    assert first["authorization"] == second["authorization"] == "Bearer bfk_test.key"
    assert "traceparent" not in second


async def test_the_key_is_in_no_repr_and_no_error(connect: Connect, script: Scripted) -> None:
    """Tools print the locals of every frame; here they may."""
    key = f"bfk_{secrets.token_hex(8)}.{secrets.token_hex(16)}"
    client = connect(script.url, api_key=f"{key}\n", retry_for=0)
    script.answer(refusal(401, "unauthenticated"))
    async with broken_line(script.url) as line:
        line.lose(b"HTTP/1.1")
        broken = connect(line.url, api_key=key, retry_for=0)
        # What fails while it is sent has the headers in its frames.
        unsendable = client.traced(request_id="two\nlines")
        for calling, kind in (
            (client, ApiError),
            (broken, ConnectionFailed),
            (unsendable, ConfigurationError),
        ):
            with pytest.raises(kind) as caught:
                await calling.tenants.create("acme_corp", "ACME")
            assert key not in _shown(caught.value) + repr(calling) + repr(caught.value) + str(caught.value)
    assert script.seen[0].headers["authorization"] == f"Bearer {key}"


async def test_no_answer_names_where_none_came_from(connect: Connect) -> None:
    client = connect(f"http://me:secret@127.0.0.1:{free_port()}/under", api_key="bfk_test.key", retry_for=0)
    with pytest.raises(ConnectionFailed) as caught:
        await client.tenants.get("acme")
    assert re.match(r"http://127\.0\.0\.1:\d+/under/?: ConnectError", str(caught.value))


@pytest.mark.parametrize("flavour", [AsyncClient, Client])
def test_what_cannot_work_is_refused_at_once(flavour: type[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BF_API_URL", raising=False)
    with pytest.raises(ConfigurationError, match="BF_API_URL"):
        flavour()
    with pytest.raises(ConfigurationError, match="starts with http"):
        flavour("localhost:8080")
    with pytest.raises(ConfigurationError, match="no key has") as caught:
        flavour("http://localhost", api_key="bfk_ä.secret")
    assert "secret" not in str(caught.value)


async def test_address_and_key_come_from_the_environment(script: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BF_API_URL", f"{script.url}/prefix")
    monkeypatch.setenv("BF_API_KEY", "bfk_env.key")
    script.answer(answer(tenant()))
    async with AsyncClient() as client:
        await client.tenants.get("acme_corp")
        assert repr(client) == f"AsyncClient(URL('{script.url}/prefix/'))"
    assert script.seen[0].path == "/prefix/v1/tenants/acme_corp"
    assert script.seen[0].headers["authorization"] == "Bearer bfk_env.key"
    with pytest.raises(RuntimeError, match="closed"):
        await client.tenants.get("acme_corp")


def _shown(error: BaseException) -> str:
    """The locals of every frame that a tool would print but those of this file, which has the key in its own."""
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _foreign(frame)]
    assert len(frames) >= 2
    return "".join(traceback.StackSummary.extract(iter(frames), capture_locals=True).format())


def _foreign(frame: FrameType) -> bool:
    return frame.f_code.co_filename != __file__
