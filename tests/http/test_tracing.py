"""Ids that a caller sends: those that are some go with the request, and the rest are as if they were not there."""

import asyncpg
import pytest
from structlog.testing import capture_logs

from app.log import with_ids
from tests.support.api import Api

_TRACE, _SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
_VALID = (
    f"00-{_TRACE}-{_SPAN}-01",
    f"00-{_TRACE}-{_SPAN}-00",
    f"00-{_TRACE}-{_SPAN}-ff",
    # A later version, which may say more at the end.
    f"01-{_TRACE}-{_SPAN}-01",
    f"cc-{_TRACE}-{_SPAN}-01-what-the-future-holds",
)
_INVALID = (
    "",
    "x",
    f"ff-{_TRACE}-{_SPAN}-01",
    f"00-{'0' * 32}-{_SPAN}-01",
    f"00-{_TRACE}-{'0' * 16}-01",
    f"00-{_TRACE.upper()}-{_SPAN}-01",
    f"00-{_TRACE}-{_SPAN}-01-more",
    f"00-{_TRACE}-{_SPAN}",
    f"00-{_TRACE[:-1]}-{_SPAN}-01",
    f"00-{_TRACE}0-{_SPAN}-01",
    f"00-{_TRACE}-{_SPAN}-1",
    f"0-{_TRACE}-{_SPAN}-01",
    f"00_{_TRACE}_{_SPAN}_01",
    f"00-{_TRACE[:-1]}g-{_SPAN}-01",
    f"01-{_TRACE}-{_SPAN}-01x",
    f"01-{_TRACE}-{_SPAN}-01-{'x' * 5000}",
    f"00-{_TRACE}-{_SPAN}-01, 00-{_TRACE}-{_SPAN}-01",
    f"00-{_TRACE}-{_SPAN}-01'; --",
)


async def _asked(api: Api, number: int, traceparent: str) -> tuple[str, list[str | None]]:
    """The operation that a request with it leads to, and the traces in the log of that request."""
    path = f"/v1/tenants/traced_{number}"
    with capture_logs(processors=[with_ids]) as logged:
        answer = await api.client.put(path, json={"tenant_name": "T"}, headers={"traceparent": traceparent})
    assert answer.status_code == 202, answer.text
    traces = [line.get("trace_id") for line in logged if line["event"] == "request" and line["path"] == path]
    return answer.json()["id"], traces


async def test_a_traceparent_goes_with_the_request_to_the_operation_and_the_log(
    idle_api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    for number, valid in enumerate(_VALID):
        with subtests.test(valid[-30:]):
            operation, traces = await _asked(idle_api, number, valid)
            assert traces == [_TRACE]
            stored = await conn.fetchval("SELECT traceparent FROM bf_control.operation WHERE id = $1", operation)
            assert stored == valid


async def test_one_that_is_none_is_ignored(idle_api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests) -> None:
    for number, invalid in enumerate(_INVALID):
        with subtests.test(invalid[:60]):
            operation, traces = await _asked(idle_api, number, invalid)
            assert traces == [None]
            stored = await conn.fetchval("SELECT traceparent FROM bf_control.operation WHERE id = $1", operation)
            assert stored is None


async def test_the_request_id_is_in_the_answer_the_operation_and_the_audit_trail(
    idle_api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    for number, (given, kept) in enumerate(
        (
            (b"req_1:2.3-4", True), (b"x" * 128, True), (b"7", True), (b"x" * 129, False), (b"", False),
            (b"a b", False), (b"a,b", False), (b"a\tb", False), (b"<b>", False), ("ü".encode(), False),
            (b"\xff", False), (b"a;b", False), (b"a\"b", False),
        )
    ):  # fmt: skip
        with subtests.test(repr(given[:20])):
            answer = await idle_api.client.put(
                f"/v1/tenants/named_{number}", json={"tenant_name": "T"}, headers=[(b"x-request-id", given)]
            )
            told = answer.headers["x-request-id"].encode()
            assert (told == given) is kept
            row = await conn.fetchrow(
                """SELECT o.request_id, a.request_id FROM bf_control.operation o
                     JOIN bf_control.audit a ON a.target = 'tenant/' || o.tenant_id WHERE o.tenant_id = $1""",
                f"named_{number}",
            )
            assert tuple(row) == (told.decode(), told.decode())
            assert answer.json()["request_id"] == told.decode()
