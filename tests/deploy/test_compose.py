"""docker-compose.yml, the scripts beside it, and the database that they make."""

import asyncio
import configparser
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from app.db.embedded import EmbeddedServer
from app.settings import Settings
from tests.deploy.support import COMPOSE_DIR, compose, seconds, secret_variables, variables
from tests.support.cluster import binaries_under_test
from tests.support.command import command

pytestmark = pytest.mark.any_postgres

_OURS = ("upgrade", "api", "worker")


def _make_secrets(directory: Path) -> dict[str, str]:
    subprocess.run([COMPOSE_DIR / "secrets.sh", directory], check=True)
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_there_are_two_of_each_and_one_upgrade() -> None:
    services = compose()["services"]
    assert services.keys() == {"postgres", "pgbouncer", *_OURS}
    assert services["api"]["deploy"]["replicas"] == services["worker"]["deploy"]["replicas"] == 2
    assert services["upgrade"]["command"] == ["upgrade"]
    assert services["upgrade"]["restart"] == "no"
    assert "command" not in services["api"], "the image's own: serve"


def test_each_waits_for_what_it_needs() -> None:
    waits = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in compose()["services"].items()
    }
    healthy, done = "service_healthy", "service_completed_successfully"
    assert waits == {
        "postgres": {},
        "pgbouncer": {"postgres": healthy},
        "upgrade": {"postgres": healthy},
        "api": {"postgres": healthy, "pgbouncer": healthy, "upgrade": done},
        "worker": {"postgres": healthy, "upgrade": done},
    }


def test_what_sends_webhooks_can_sign_and_send_them() -> None:
    worker = compose()["services"]["worker"]
    assert "secret_keys" in worker["secrets"]
    assert worker["environment"]["BF_SECRET_KEYS_FILE"] == "/run/secrets/secret_keys"
    assert any(not (compose()["networks"][name] or {}).get("internal") for name in worker["networks"])


def test_none_can_write_or_gain_rights(subtests: pytest.Subtests) -> None:
    for name, service in compose()["services"].items():
        with subtests.test(name):
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]
            assert not {"privileged", "cap_add", "network_mode", "pid"} & service.keys()


def test_only_the_api_can_be_reached_and_only_from_this_host() -> None:
    document = compose()
    assert document["networks"]["database"]["internal"] is True
    open_services = {name for name, service in document["services"].items() if "ports" in service}
    assert open_services == {"api"}
    (ports,) = document["services"]["api"]["ports"]
    match = re.fullmatch(r"\$\{API_PORTS:-127\.0\.0\.1:(\d+)-(\d+)\}:8080", ports)
    assert match is not None
    assert int(match[2]) - int(match[1]) + 1 == document["services"]["api"]["deploy"]["replicas"]


def test_no_secret_stands_in_an_environment(subtests: pytest.Subtests) -> None:
    document = compose()
    for name, service in document["services"].items():
        with subtests.test(name):
            for variable, value in service.get("environment", {}).items():
                assert variable not in secret_variables()
                assert "://" not in str(value)
                if variable.endswith("_FILE"):
                    assert Path(value).parent == Path("/run/secrets")
                    assert Path(value).name in service["secrets"]
                else:
                    assert not re.search("PASSWORD|SECRET|TOKEN|KEY", variable)
            if name in _OURS:
                assert service["environment"].keys() <= variables()


def test_each_mounted_secret_is_used_and_made_by_the_script(tmp_path: Path) -> None:
    document = compose()
    made = _make_secrets(tmp_path / "secrets")
    assert {Path(secret["file"]).name for secret in document["secrets"].values()} == made.keys()
    assert {Path(secret["file"]).parent for secret in document["secrets"].values()} == {Path("deploy/compose/secrets")}
    assert all(name == Path(secret["file"]).name for name, secret in document["secrets"].items())
    used = {secret for service in document["services"].values() for secret in service.get("secrets", [])}
    assert used == made.keys()


def test_the_script_makes_secrets_once_and_keeps_them_from_others(tmp_path: Path) -> None:
    first = _make_secrets(tmp_path / "secrets")
    assert _make_secrets(tmp_path / "secrets") == first
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o444 for path in (tmp_path / "secrets").iterdir())
    other = _make_secrets(tmp_path / "others")
    assert not set(first.values()) & set(other.values())
    assert all(len(first[name]) >= 40 for name in ("postgres_password", "migrator_password", "api_key_pepper"))


def test_the_urls_lead_through_pgbouncer_and_past_it(tmp_path: Path) -> None:
    made, services = _make_secrets(tmp_path / "secrets"), compose()["services"]
    ini = configparser.ConfigParser()
    ini.read(COMPOSE_DIR / "pgbouncer" / "pgbouncer.ini")
    pooled, direct = urlsplit(made["database_url"].strip()), urlsplit(made["direct_database_url"].strip())
    assert (pooled.hostname, pooled.port) == ("pgbouncer", ini.getint("pgbouncer", "listen_port"))
    assert (direct.hostname, direct.port) == ("postgres", 5432)
    assert pooled.path == direct.path == f"/{services['postgres']['environment']['POSTGRES_DB']}"
    assert ini["databases"][pooled.path[1:]] == f"host={direct.hostname} port={direct.port} dbname={direct.path[1:]}"
    assert ini["pgbouncer"]["pool_mode"] == "transaction"
    assert ini["pgbouncer"]["auth_file"] == "/run/secrets/pgbouncer_userlist"
    assert made["pgbouncer_userlist"] == f'"{pooled.username}" "{pooled.password}"\n'
    assert pooled.password == direct.password == made["migrator_password"]
    api, worker = services["api"]["environment"], services["worker"]["environment"]
    assert api["DATABASE_URL_FILE"].endswith("/database_url")
    assert api["BF_DIRECT_DATABASE_URL_FILE"].endswith("/direct_database_url")
    assert worker["DATABASE_URL_FILE"].endswith("/direct_database_url")


def test_the_drain_ends_before_the_kill(subtests: pytest.Subtests) -> None:
    drain = Settings.model_fields["drain_timeout"].default
    for name in _OURS:
        with subtests.test(name):
            service = compose()["services"][name]
            assert "BF_DRAIN_TIMEOUT" not in service["environment"]
            assert seconds(service["stop_grace_period"]) > drain


def test_images_have_versions() -> None:
    images = {name: service["image"] for name, service in compose()["services"].items()}
    for image in images.values():
        assert re.fullmatch(r"\$\{[A-Z]+_IMAGE:-[a-z0-9./-]+:[a-z0-9.-]+\}", image), image
        assert ":latest" not in image
    assert "postgres:18" in images["postgres"]
    assert len({images[name] for name in _OURS}) == 1


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server that nothing was done to: the script's role is the tests' own in the shared one."""
    server = EmbeddedServer(tmp_path / "data", binaries=binaries_under_test(), settings={"fsync": "off"})
    server.start()
    yield server
    server.destroy()


async def test_the_database_script_makes_the_guides_migration_user(fresh: EmbeddedServer, tmp_path: Path) -> None:
    made = _make_secrets(tmp_path / "secrets")
    admin_url = fresh.url(user="postgres", password=fresh.superuser_password, database="postgres")
    admin = await asyncpg.connect(admin_url)
    await admin.execute("CREATE DATABASE apg_bf")
    place = {"PGHOST": "127.0.0.1", "PGPORT": str(fresh.port), "PGPASSWORD": fresh.superuser_password}
    await asyncio.to_thread(
        subprocess.run,
        [COMPOSE_DIR / "postgres" / "10-migration-user.sh"],
        check=True,
        env={
            **place,
            "PATH": f"{binaries_under_test().bin_dir}:{os.environ['PATH']}",
            "POSTGRES_USER": "postgres",
            "POSTGRES_DB": "apg_bf",
            "MIGRATOR_PASSWORD_FILE": str(tmp_path / "secrets" / "migrator_password"),
        },
    )
    role = await admin.fetchrow("SELECT * FROM pg_roles WHERE rolname = 'bf_migrator'")
    await admin.close()
    assert role is not None
    rights = {name.removeprefix("rol") for name, held in role.items() if held is True}
    assert rights == {"canlogin", "createrole", "inherit"}
    url = made["direct_database_url"].strip().replace("@postgres:5432", f"@127.0.0.1:{fresh.port}")
    upgraded = await command("upgrade", env={"DATABASE_URL": url})
    assert (upgraded.code, "Applied" in upgraded.stdout) == (0, True), upgraded.stderr
    created = await command("create-tenant", "--tenant-id", "acme", "--tenant-name", "A", env={"DATABASE_URL": url})
    assert created.code == 0, created.stderr
