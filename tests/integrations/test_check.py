"""POST …/check: what an endpoint answers, and who is never asked. Every server here is a real one."""

import asyncio
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.allow import Allow
from app.integrations.check import Checker, resolve
from app.integrations.endpoint import Policy
from app.integrations.model import Outcome
from app.settings import Settings
from tests.integrations.support import PATH, put
from tests.support.api import Api, running_api
from tests.support.data import make_tenant, settings_for
from tests.support.polling import until
from tests.support.problems import problem

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(slots=True)
class Canary:
    """A server, and all that reached it."""

    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)


@asynccontextmanager
async def canary(
    answer: bytes | None = _OK, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Canary]:
    """Answers each request so; None: never."""
    seen = Canary()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        try:
            seen.requests.append(await reader.readuntil(b"\r\n\r\n"))
            if answer is None:
                await asyncio.sleep(60)
            else:
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: seen.server_names.append(name)
    server = await asyncio.start_server(serve, host, port, ssl=tls)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()


def _allowing(*entries: str) -> Policy:
    return Policy(Allow.parse(",".join(entries)))


async def _check(
    url: str, *allow: str, addresses: Sequence[str] | None = None, tls: ssl.SSLContext | None = None, seconds: float = 5
) -> Outcome:
    """`addresses` are what a name server would say of any name."""
    by_name = resolve if addresses is None else (lambda _host, _port: list(addresses))
    return await Checker(_allowing(*allow), resolve=by_name, tls=tls, seconds=seconds).check(url)


def _code(outcome: Outcome) -> str | None:
    return None if outcome.fault is None else outcome.fault.code


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for auth.example.com and 127.0.0.1, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    names = [x509.DNSName("auth.example.com"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    (directory / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (directory / "key.pem").write_bytes(pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return server, ssl.create_default_context(cafile=str(directory / "cert.pem"))


async def test_it_says_what_was_answered_and_how_fast() -> None:
    for status, ok in ((200, True), (204, True), (401, True), (404, True), (500, False), (503, False)):
        async with canary(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()) as server:
            outcome = await _check(f"http://127.0.0.1:{server.port}/v1?a=b", "127.0.0.1")
            assert (outcome.status, outcome.ok) == (status, ok)
            assert 0 < outcome.latency_ms < 5000
            (request,) = server.requests
            assert request.startswith(b"GET /v1?a=b HTTP/1.1\r\n")
            assert f"host: 127.0.0.1:{server.port}\r\n".encode() in request.lower()
            assert not {b"authorization", b"cookie"} & {line.split(b":")[0].lower() for line in request.split(b"\r\n")}


async def test_a_redirect_is_not_followed() -> None:
    async with canary() as secret, canary() as outside:
        for status in (301, 302, 303, 307, 308):
            head = f"HTTP/1.1 {status} X\r\nLocation: http://127.0.0.1:{secret.port}/\r\nContent-Length: 0\r\n\r\n"
            async with canary(head.encode()) as server:
                outcome = await _check(f"http://127.0.0.1:{server.port}", f"127.0.0.1:{server.port}")
                assert (outcome.status, _code(outcome), len(server.requests)) == (status, "redirected", 1)
        assert secret.connections == outside.connections == 0


_LEADING_HERE = [
    "https://127.0.0.1:{}", "https://0x7f.1:{}", "https://0177.0.0.1:{}", "https://2130706433:{}", "https://127.1:{}",
    "https://[::ffff:127.0.0.1]:{}", "https://[::1]:{}", "https://localhost:{}", "https://0.0.0.0:{}", "https://0:{}",
    "http://127.0.0.1:{}", "http://localhost:{}", "https://x@127.0.0.1:{}", "https://127.0.0.1:{}#", "https://[::]:{}",
]  # fmt: skip


async def test_no_way_to_write_this_machine_sends_it_a_packet(subtests: pytest.Subtests) -> None:
    async with canary() as v4, canary(host="::1", port=v4.port) as v6:
        for text in _LEADING_HERE:
            with subtests.test(text):
                outcome = await _check(text.format(v4.port))
                assert outcome.status is None
                assert _code(outcome) in {"endpoint_invalid", "endpoint_not_allowed"}
        assert v4.connections == v6.connections == 0


_PRIVATE_ANSWERS = [
    ["127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"], ["0.0.0.0"], ["::"],  # noqa: S104
    ["169.254.169.254"],
    ["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"], ["fe80::1%lo"], ["10.0.0.1"], ["2002:7f00:1::"],
]  # fmt: skip


async def test_a_name_that_leads_here_sends_no_packet_either(subtests: pytest.Subtests) -> None:
    """A name with one good address and a bad one is as bad."""
    async with canary() as v4, canary(host="::1", port=v4.port) as v6:
        for addresses in _PRIVATE_ANSWERS:
            with subtests.test(str(addresses)):
                outcome = await _check(f"https://innocent.example.com:{v4.port}", addresses=addresses)
                assert (outcome.status, _code(outcome)) == (None, "address_not_allowed")
                assert outcome.fault is not None
                assert not any(address in outcome.fault.detail for address in addresses)
        assert v4.connections == v6.connections == 0


async def test_a_name_is_resolved_once_so_that_rebinding_gains_nothing() -> None:
    asked = []

    def rebinding(host: str, _: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    async with canary() as first, canary(host="127.0.0.2", port=first.port) as second:
        policy = _allowing(f"127.0.0.1:{first.port}", f"innocent.example.com:{first.port}")
        outcome = await Checker(policy, resolve=rebinding).check(f"http://innocent.example.com:{first.port}")
        assert (outcome.status, asked) == (200, ["innocent.example.com"])
        assert (first.connections, second.connections) == (1, 0)
        assert f"host: innocent.example.com:{first.port}\r\n".encode() in first.requests[0].lower()


async def test_tls_asks_for_the_name_though_the_address_is_connected_to(
    certificates: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    server_side, client_side = certificates
    async with canary(tls=server_side) as server:
        url = f"https://auth.example.com:{server.port}"
        good = await _check(url, "127.0.0.1", addresses=["127.0.0.1"], tls=client_side)
        assert (good.status, server.server_names) == (200, ["auth.example.com"])
        by_address = await _check(f"https://127.0.0.1:{server.port}", "127.0.0.1", tls=client_side)
        assert by_address.status == 200
        other = f"https://other.example.com:{server.port}"
        refused = await _check(other, "127.0.0.1", addresses=["127.0.0.1"], tls=client_side)
        assert (refused.status, _code(refused)) == (None, "tls_failed")
        untrusted = await _check(url, "127.0.0.1", addresses=["127.0.0.1"])
        assert (untrusted.status, _code(untrusted)) == (None, "tls_failed")
        assert len(server.requests) == 2, "nothing is asked of who cannot prove the name"


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with canary() as proxy, canary() as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        outcome = await _check(f"http://127.0.0.1:{server.port}", "127.0.0.1")
        assert (outcome.status, proxy.connections) == (200, 0)


async def test_it_ends_in_time_whoever_is_slow() -> None:
    def slow(host: str, port: int) -> list[str]:
        time.sleep(2)
        return ["127.0.0.1"]

    drip = b"HTTP/1.1 200 OK\r\nX-"
    async with canary(None) as mute, canary(drip) as cut:
        started = time.monotonic()
        for url, by_name in (
            (f"http://127.0.0.1:{mute.port}", resolve),
            ("http://slow.example.com:9", slow),
        ):
            checker = Checker(_allowing("127.0.0.1", "slow.example.com"), resolve=by_name, seconds=0.5)
            outcome = await checker.check(url)
            assert (outcome.status, _code(outcome)) == (None, "timed_out")
            assert 500 <= outcome.latency_ms < 1500
        assert time.monotonic() - started < 3
        assert _code(await _check(f"http://127.0.0.1:{cut.port}", "127.0.0.1")) == "not_http"


async def test_a_body_is_not_waited_for() -> None:
    async with canary(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n") as server:
        outcome = await _check(f"http://127.0.0.1:{server.port}", "127.0.0.1")
        assert outcome.status == 200
        assert outcome.latency_ms < 3000


async def test_what_does_not_answer_is_told_apart() -> None:
    async with canary(b"SSH-2.0-OpenSSH\r\n\r\n") as ssh:
        assert _code(await _check(f"http://127.0.0.1:{ssh.port}", "127.0.0.1")) == "not_http"
        port = ssh.port
    assert _code(await _check(f"http://127.0.0.1:{port}", "127.0.0.1")) == "connection_failed"
    assert _code(await _check("https://no-such-host.invalid")) == "name_not_resolved"
    assert _code(await _check("https://empty.example.com", addresses=[])) == "name_not_resolved"


async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    async with canary(host="127.0.0.2") as server:
        url = f"http://many.example.com:{server.port}"
        outcome = await _check(url, "127.0.0.0/8", "many.example.com", addresses=["127.0.0.1", "127.0.0.2"])
        assert outcome.status == 200


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    return settings_for(dsn, bootstrap_admin_key_file=tmp_path / "admin-key", integration_allow="127.0.0.1")


@pytest.mark.usefixtures("tenant")
async def test_it_is_asked_over_rest(idle_api: Api, conn: asyncpg.Connection) -> None:
    path = f"{PATH}/auth_rbac/check"
    problem(await idle_api.client.post(path), 404, "integration_not_found")
    await put(idle_api, "auth_rbac", {"enabled": False})
    problem(await idle_api.client.post(path), 409, "integration_without_endpoint")
    async with canary() as server:
        made = await put(idle_api, "auth_rbac", {"endpoint": f"http://127.0.0.1:{server.port}"})
        assert made.status_code == 200, made.text
        before = await conn.fetchval("SELECT count(*) FROM bf_control.audit")
        answer = await idle_api.client.post(path)
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert document.keys() == {"ok", "status", "latency_ms", "checked_at", "error"}
        assert (document["ok"], document["status"], document["error"]) == (True, 200, None)
        assert await conn.fetchval("SELECT count(*) FROM bf_control.audit") == before
    failed = (await idle_api.client.post(path)).json()
    assert (failed["ok"], failed["status"], failed["error"]["code"]) == (False, None, "connection_failed")
    sql = """UPDATE bf_shared.tenant_config SET apg_integrations = '{"auth_rbac": {"endpoint": "http://169.254.169.254"}}'"""
    await conn.execute(sql)
    assert (await idle_api.client.post(path)).json()["error"]["code"] == "endpoint_not_allowed"


@pytest.mark.usefixtures("tenant")
async def test_a_key_replays_the_first_answer(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "other")
    async with canary() as server:
        await put(idle_api, "auth_rbac", {"endpoint": f"http://127.0.0.1:{server.port}"})
        headers = {"Idempotency-Key": "k"}
        path = f"{PATH}/auth_rbac/check"
        first, again = [await idle_api.client.post(path, headers=headers) for _ in range(2)]
        assert (first.json(), again.headers["idempotent-replayed"]) == (again.json(), "true")
        assert server.connections == 1
        await put(idle_api, "notification_engine", {"endpoint": f"http://127.0.0.1:{server.port}"})
        other = await idle_api.client.post(f"{PATH}/notification_engine/check", headers=headers)
        problem(other, 422, "idempotency_key_reused")
        at_once = {"Idempotency-Key": "at once"}
        answers = await asyncio.gather(*(idle_api.client.post(path, headers=at_once) for _ in range(5)))
        kept = {answer.text for answer in answers if answer.status_code == 200}
        assert len(kept) == 1
        assert {answer.status_code for answer in answers} <= {200, 409}


async def test_while_it_tries_no_connection_to_the_database_is_held(
    dsn: str, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    await make_tenant(conn)
    settings = settings_for(
        dsn, bootstrap_admin_key_file=tmp_path / "admin-key", integration_allow="127.0.0.1", db_pool_max=2
    )
    async with running_api(settings, with_worker=False) as api, canary(None) as mute:
        await put(api, "auth_rbac", {"endpoint": f"http://127.0.0.1:{mute.port}"})
        checks = [asyncio.create_task(api.client.post(f"{PATH}/auth_rbac/check")) for _ in range(4)]

        async def all_connected() -> bool:
            return mute.connections == 4

        await until(all_connected, what="four connections to an endpoint")
        assert (await api.client.get(PATH)).status_code == 200
        answers = await asyncio.gather(*checks)
        assert {answer.json()["error"]["code"] for answer in answers} == {"timed_out"}
