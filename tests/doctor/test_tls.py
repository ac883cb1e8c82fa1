"""Doctor on TLS: what the URL asks for, what the connection has, and whether it matters.

0.0.0.0 leads to this machine, and is no address of its loopback: a host elsewhere, as far as a URL shows.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.doctor.support import check, shell
from tests.support import tls
from tests.support.cluster import Cluster
from tests.support.pgbouncer import PgBouncer
from tests.support.processes import environment


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose server can do TLS: the one under test, or Debian's where that is a build without."""
    running = Cluster.start(tmp_path_factory.mktemp("tls") / "data", settings={"fsync": "off"}, binaries=tls.binaries())
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
async def elsewhere(own: Cluster) -> AsyncIterator[dict[str, str]]:
    """A server with a certificate and without TLS, at a host that is not local."""
    tls.certify(own)
    yield environment((await own.create_database()).replace("127.0.0.1", "0.0.0.0"))  # noqa: S104 -- no server listens
    admin = await own.superuser("postgres")
    await admin.execute("ALTER SYSTEM RESET ALL")
    await admin.execute("SELECT pg_reload_conf()")
    await admin.close()


async def _run(own: Cluster, mend: str) -> str:
    """Runs the SQL as a superuser; returns the other lines."""
    admin = await own.superuser("postgres")
    for statement in mend.splitlines():
        if statement.endswith(";"):
            await admin.execute(statement)
    await admin.close()
    return "\n".join(line for line in mend.splitlines() if not line.endswith(";"))


async def test_a_host_elsewhere_without_tls(own: Cluster, elsewhere: dict[str, str]) -> None:
    finding = await check("tls", elsewhere, "warn")
    assert finding["observed"] == "no TLS, sslmode not given"
    mended = shell(await _run(own, finding["mend"]), elsewhere)
    assert mended["DATABASE_URL"].endswith("?sslmode=require")
    assert (await check("tls", mended, "pass"))["observed"] == "TLSv1.3, sslmode require"


async def test_a_url_that_would_do_without(own: Cluster, elsewhere: dict[str, str]) -> None:
    await _run(own, "ALTER SYSTEM SET ssl = on;\nSELECT pg_reload_conf();")
    for query, observed, wanted in (
        ("", "TLSv1.3, sslmode not given", "?sslmode=require"),
        ("?sslmode=prefer", "TLSv1.3, sslmode prefer", "?sslmode=require"),
        ("?sslmode=disable", "no TLS, sslmode disable", "?sslmode=require"),
        ("?connect_timeout=3", "TLSv1.3, sslmode not given", "?connect_timeout=3&sslmode=require"),
    ):
        env = {**elsewhere, "DATABASE_URL": elsewhere["DATABASE_URL"] + query}
        finding = await check("tls", env, "warn")
        assert finding["observed"] == observed
        mended = shell(await _run(own, finding["mend"]), env)
        assert mended["DATABASE_URL"] == elsewhere["DATABASE_URL"] + wanted
        await check("tls", mended, "pass")


async def test_a_server_without_tls_where_the_url_asks_for_it(own: Cluster, elsewhere: dict[str, str]) -> None:
    env = {**elsewhere, "DATABASE_URL": elsewhere["DATABASE_URL"] + "?sslmode=require"}
    finding = await check("connection", env, "fail")
    assert "the server has no TLS" in finding["reason"]
    assert await _run(own, finding["mend"]) == ""
    await check("connection", env, "pass")


async def test_a_certificate_that_nobody_known_has_signed(own: Cluster, elsewhere: dict[str, str]) -> None:
    await _run(own, "ALTER SYSTEM SET ssl = on;\nSELECT pg_reload_conf();")
    url = f"{elsewhere['DATABASE_URL']}?sslmode=verify-full"
    trusted = tls.certify(own)
    await _run(own, "SELECT pg_reload_conf();")
    for root in ("/etc/ssl/certs/ca-certificates.crt", "/nowhere"):
        finding = await check("connection", {**elsewhere, "DATABASE_URL": f"{url}&sslrootcert={root}"}, "fail")
        assert "sslrootcert" in (finding["reason"] + finding["mend"])
    good = await check("tls", {**elsewhere, "DATABASE_URL": f"{url}&sslrootcert={trusted}"}, "pass")
    assert good["observed"] == "TLSv1.3, sslmode verify-full"


async def test_this_machine_needs_none(own: Cluster) -> None:
    finding = await check("tls", environment(await own.create_database()), "pass")
    assert finding["reason"] == "127.0.0.1 is this machine"


async def test_tls_that_ends_at_the_pooler(own: Cluster, elsewhere: dict[str, str], tmp_path: Path) -> None:
    certificate = tls.certify(own)
    encrypting = {
        "client_tls_sslmode": "require",
        "client_tls_cert_file": str(certificate),
        "client_tls_key_file": str(certificate.with_suffix(".key")),
    }
    direct = elsewhere["DATABASE_URL"]
    for mode, status in (("disable", "warn"), ("prefer", "pass")):
        with PgBouncer(own, settings={**encrypting, "listen_addr": "0.0.0.0", "server_tls_sslmode": mode}) as pooler:  # noqa: S104
            url = pooler.through(direct).replace("127.0.0.1", "0.0.0.0") + "?sslmode=require"  # noqa: S104
            finding = await check("tls", {**elsewhere, "DATABASE_URL": url}, status)
        if status == "warn":
            assert "server_tls_sslmode" in finding["reason"]
            await _run(own, finding["mend"])


async def test_a_build_without_tls(cluster: Cluster, empty: dict[str, str]) -> None:
    """No statement turns on what is not there; of a build with TLS, the other tests tell."""
    env = {**empty, "DATABASE_URL": empty["DATABASE_URL"].replace("127.0.0.1", "0.0.0.0")}  # noqa: S104
    admin = await cluster.superuser("postgres")
    possible = await admin.fetchval("SELECT current_setting('ssl_library') <> ''")
    await admin.close()
    finding = await check("tls", env, "warn")
    assert finding["mend"].startswith("ALTER SYSTEM SET ssl" if possible else "apt-get install postgresql-")
