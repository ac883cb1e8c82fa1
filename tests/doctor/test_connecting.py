"""Doctor where there is no connection: it says why, and what mends it. And it never says the password."""

import re
import secrets

import asyncpg
import pytest

from tests.doctor.support import check, examine, login, mended, shell, without
from tests.support.cluster import Cluster
from tests.support.command import command
from tests.support.processes import environment, free_port, run

_CONNECTION = {"database_url", "application_connection", "connection"}


def _other(dsn: str, *, host: str | None = None, port: int | None = None, database: str | None = None) -> str:
    match = re.fullmatch(r"(\w+://[^@]*@)([^:]+):(\d+)/(.+)", dsn)
    assert match is not None
    return f"{match[1]}{host or match[2]}:{port or match[3]}/{database or match[4]}"


async def test_without_a_url_it_is_a_usage_error(empty: dict[str, str]) -> None:
    for url in ("", "acme", "mysql://u:hidden@h/d", "postgresql://u:hid/den@h/d", "postgresql://u:hidden@[::1/d"):
        finished = await command("doctor", env={**empty, "DATABASE_URL": url})
        assert (finished.code, finished.stdout) == (2, ""), url
        assert "Traceback" not in finished.stderr
        assert "hid" not in finished.stderr
    finished = await command("doctor", env=without(empty, "DATABASE_URL"))
    assert (finished.code, "DATABASE_URL is not set" in finished.stderr) == (2, True)


async def test_a_server_that_is_down(own: Cluster) -> None:
    env = environment(await own.create_database())
    own.server.stop()
    try:
        checks = await examine(env)
        assert "connection refused" in checks["connection"]["reason"]
        assert {checks[name]["status"] for name in checks.keys() - _CONNECTION} == {"not_checked"}
        assert (await run(*checks["connection"]["mend"].split(), env=env)).code == 2
        text = await command("doctor", env=env)
        assert text.code == 1
        assert "there is no connection: pooler, server_version" in text.stdout
        assert "look  pg_isready" in text.stdout
        assert "mend" not in text.stdout
        assert text.stderr == ""
    finally:
        own.start_again()
    assert (await run(*checks["connection"]["mend"].split(), env=env)).code == 0
    await check("connection", env, "pass")


async def test_hosts_that_are_none(empty: dict[str, str]) -> None:
    url = empty["DATABASE_URL"]
    for wrong, said, mend in (
        ({"host": "nohost.invalid"}, "DNS does not know the host", "getent hosts nohost.invalid"),
        ({"port": free_port()}, "connection refused", "pg_isready -h 127.0.0.1 -p"),
        ({"host": "192.0.2.77"}, "", "pg_isready -h 192.0.2.77 -p"),
    ):
        finding = await check("connection", {**empty, "DATABASE_URL": _other(url, **wrong)}, "fail")
        assert said in finding["reason"]
        assert finding["mend"].startswith(mend)
    nowhere = await check("connection", {**empty, "DATABASE_URL": "postgresql://u@/d?host=/nowhere"}, "fail")
    assert "no server listens there" in nowhere["reason"]


async def test_a_wrong_password(admin: asyncpg.Connection, cluster: Cluster) -> None:
    async with login(admin, cluster) as (name, dsn):
        password = dsn.partition("@")[0].rpartition(":")[2]
        await admin.execute(f"ALTER ROLE {name} PASSWORD 'another'")
        finding = await check("connection", environment(dsn), "fail")
        assert name in finding["mend"]
        told = (await command("doctor", env=environment(dsn))).stderr
        assert told == "SQL is for a superuser, in database postgres of that server.\n"
        await admin.execute(finding["mend"].replace("<the password in DATABASE_URL>", password))
        await check("connection", environment(dsn), "pass")


@pytest.mark.parametrize(
    "fault",
    [
        "ALTER ROLE {role} NOLOGIN",
        "ALTER ROLE {role} CONNECTION LIMIT 0",
        "ALTER DATABASE {database} CONNECTION LIMIT 0",
        "ALTER DATABASE {database} ALLOW_CONNECTIONS false",
        "REVOKE CONNECT ON DATABASE {database} FROM PUBLIC",
    ],
)
async def test_what_a_superuser_mends(admin: asyncpg.Connection, cluster: Cluster, fault: str) -> None:
    async with login(admin, cluster) as (name, dsn):
        database = await admin.fetchval("SELECT current_database()")
        outside = await cluster.superuser("postgres")
        await outside.execute(fault.format(role=name, database=database))
        await mended("connection", environment(dsn), "fail", outside)
        await outside.close()


async def test_a_database_that_is_not_there(admin: asyncpg.Connection, empty: dict[str, str], cluster: Cluster) -> None:
    name = f"Doctor's {secrets.token_hex(4)}"
    env = {**empty, "DATABASE_URL": _other(empty["DATABASE_URL"], database=name.replace(" ", "%20"))}
    try:
        finding = await mended("connection", env, "fail", admin)
        assert finding["mend"] == f'CREATE DATABASE "{name}" OWNER "bf_migrator";'
    finally:
        await cluster.drop_database(name)


async def test_pg_hba(own: Cluster) -> None:
    env = environment(await own.create_database())
    admin = await own.superuser("postgres")
    await admin.execute("CREATE TABLE hba (line text); COPY hba FROM PROGRAM 'cat pg_hba.conf' (DELIMITER E'\\x01')")
    await admin.execute(
        """COPY (SELECT line FROM hba WHERE line !~ '^host' UNION ALL
                 SELECT 'host all postgres all scram-sha-256') TO PROGRAM 'cat > pg_hba.conf'"""
    )
    await admin.execute("SELECT pg_reload_conf()")
    finding = await check("connection", env, "fail")
    shell(finding["mend"], {**env, **_libpq(own)})
    await check("connection", env, "pass")
    await admin.execute("COPY (SELECT line FROM hba) TO PROGRAM 'cat > pg_hba.conf'")
    await admin.execute("SELECT pg_reload_conf()")
    await admin.close()


def _libpq(cluster: Cluster) -> dict[str, str]:
    """For psql as the superuser."""
    server = cluster.server
    place = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGDATABASE": "postgres"}
    return {**place, "PGUSER": "postgres", "PGPASSWORD": server.superuser_password}


async def test_too_many_clients(own: Cluster) -> None:
    env = environment(await own.create_database())
    admin = await own.superuser("postgres")
    most = await admin.fetchval("SELECT current_setting('max_connections')::integer")
    held = []
    while len(held) < most:
        try:
            held.append(await asyncpg.connect(env["DATABASE_URL"]))
        except asyncpg.TooManyConnectionsError:
            break
    finding = await check("connection", env, "fail")
    shown = await admin.fetch(finding["mend"])
    assert [row["usename"] for row in shown if row["count"] == len(held)] == ["bf_migrator"]
    for conn in held:
        await conn.close()
    await check("connection", env, "pass")
    await admin.close()


async def test_the_password_is_never_told(admin: asyncpg.Connection, cluster: Cluster) -> None:
    secret = secrets.token_hex(8)
    async with login(admin, cluster) as (name, dsn):
        await admin.execute(f"ALTER ROLE {name} PASSWORD '{secret}'")
        for url in (
            re.sub(r":[^:@]+@", f":{secret}@", dsn),
            re.sub(r":[^:@]+@", f":{secret}@", dsn) + "?sslmode=require",
            re.sub(r":[^:@]+@", f":{secret}@", dsn) + "?sslmode=verify-full&sslrootcert=/nowhere",
            f"postgresql://nobody:{secret}@127.0.0.1:{cluster.server.port}/d",
            f"postgresql://u:{secret}@nohost.invalid/d",
            f"postgresql://u:{secret}@127.0.0.1:1,127.0.0.1:2/d",
            f"postgresql://127.0.0.1:1/d?user=u&password={secret}",
        ):
            for arguments in (["doctor"], ["doctor", "--json"]):
                env = {**environment("", BF_LOG_LEVEL="DEBUG"), "DATABASE_URL": url}
                finished = await command(*arguments, env=env)
                assert finished.code in {0, 1}, finished
                assert secret not in finished.stdout + finished.stderr


async def test_a_direct_url_of_another_database(empty: dict[str, str], dsn: str) -> None:
    env = {**empty, "BF_DIRECT_DATABASE_URL": dsn}
    finding = await check("connection", env, "fail")
    assert "DATABASE_URL leads to another one" in finding["reason"]
    await check("connection", shell(finding["mend"], env), "pass")


async def test_an_application_url_that_leads_nowhere(empty: dict[str, str]) -> None:
    """What DDL needs is checked all the same."""
    url = empty["DATABASE_URL"]
    env = {**empty, "BF_DIRECT_DATABASE_URL": url, "DATABASE_URL": _other(url, port=free_port())}
    checks = await examine(env)
    assert (checks["application_connection"]["status"], checks["connection"]["status"]) == ("fail", "pass")
    assert checks["create_on_database"]["status"] == "pass"
