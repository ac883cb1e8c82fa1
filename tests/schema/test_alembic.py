"""Alembic as its users run it: real `alembic` processes, in our environment and in a project of others."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest

from app.schema import script
from tests.support.cluster import Cluster, client_program
from tests.support.data import LATEST
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
REVISION = ROOT / "migrations" / "versions" / "migration_bf_complete_schema.py"
DRIVERS = ("psycopg", "psycopg2", "asyncpg")
BF = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'bf\\_%' ORDER BY nspname"
ROLES = """
SELECT coalesce(array_agg(rolname::text ORDER BY rolname), '{}') FROM pg_roles
 WHERE rolname IN ('app_role', 'audit_role')
"""
SETUP = "SELECT bf_shared.setup_tenant($1, 'A tenant', 'tests')"

# What belongs to others: a name that only looks like ours, and another application.
OTHERS = """
CREATE SCHEMA bfx_other;
CREATE TABLE bfx_other.budgets (id integer PRIMARY KEY, note text DEFAULT 'theirs');
INSERT INTO bfx_other.budgets VALUES (1);
CREATE SCHEMA billing;
CREATE TABLE billing.invoice (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, total numeric(9, 2));
INSERT INTO billing.invoice (total) VALUES (1.50), (2.25);
CREATE VIEW billing.total AS SELECT sum(total) FROM billing.invoice;
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Of its own: roles are cluster-wide, and these tests ask whether they were dropped."""
    cluster = Cluster.start(tmp_path_factory.mktemp("alembic") / "data")
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bytecode for all the processes below, else each compiles SQLAlchemy anew."""
    return tmp_path_factory.mktemp("pycache")


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    name: str
    dsn: str
    cluster: Cluster

    def url(self, driver: str) -> str:
        return self.dsn.replace("postgresql://", f"postgresql+{driver}://")

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[asyncpg.Connection]:
        conn = await asyncpg.connect(self.dsn)
        try:
            yield conn
        finally:
            await conn.close()

    async def value(self, sql: str, *arguments: object) -> object:
        async with self.connect() as conn:
            return await conn.fetchval(sql, *arguments)

    async def execute(self, sql: str) -> None:
        """As the superuser: it is others who meddle here."""
        admin = await self.cluster.superuser(self.name)
        await admin.execute(sql)
        await admin.close()

    async def schemas(self) -> list[str]:
        async with self.connect() as conn:
            return [row[0] for row in await conn.fetch(BF)]

    async def upgrade(self, *tenant_ids: str) -> None:
        """As `alembic upgrade head` leaves it, in a tenth of its time."""
        migrations, target = script.load(ROOT / "migrations"), script.Target()
        async with self.connect() as conn, conn.transaction():
            await conn.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
            await conn.execute("INSERT INTO alembic_version VALUES ('bf001_complete_2025')")
            for migration in migrations:
                for statement in script.render(migration, target):
                    await conn.execute(statement)
            for tenant_id in tenant_ids:
                await conn.fetchval(SETUP, tenant_id)

    async def dump(self, *options: str) -> str:
        """As pg_dump writes it, to the byte, but for its own random key."""
        pg_dump = client_program("pg_dump")
        process = await asyncio.create_subprocess_exec(
            pg_dump, *options, self.cluster.superuser_dsn(self.name), stdout=asyncio.subprocess.PIPE
        )
        written, _ = await process.communicate()
        assert process.returncode == 0
        lines = written.decode().splitlines()
        return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))

    async def others(self, *options: str) -> str:
        return await self.dump("--exclude-schema=bf_*", "--exclude-schema=public", *options)


@pytest.fixture
async def database(cluster: Cluster) -> AsyncIterator[Database]:
    database = await new_database(cluster)
    yield database
    await cluster.drop_database(database.name)
    admin = await cluster.superuser("postgres")
    await admin.execute("DROP ROLE IF EXISTS app_role, audit_role")
    await admin.close()


async def new_database(cluster: Cluster) -> Database:
    dsn = await cluster.create_database()
    name = dsn.rpartition("/")[2].partition("?")[0]
    admin = await cluster.superuser(name)
    await admin.execute("GRANT CREATE ON SCHEMA public TO bf_migrator")  # for alembic_version, as the guide says
    await admin.execute(OTHERS)
    await admin.close()
    return Database(name=name, dsn=dsn, cluster=cluster)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A directory in which somebody runs alembic."""

    directory: Path
    config: str
    environment: dict[str, str]

    @classmethod
    def ours(cls, url: str, compiled: Path) -> "Project":
        return cls(directory=ROOT, config="migrations/alembic.ini", environment=environment(url, compiled))

    def using(self, **environment: str) -> "Project":
        return replace(self, environment={**self.environment, **environment})

    async def alembic(self, *arguments: str, fails: bool = False) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "alembic", "-c", self.config, *arguments),
            cwd=self.directory,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        written, _ = await process.communicate()
        output = written.decode()
        assert (process.returncode != 0) == fails, output
        return output


def environment(url: str, compiled: Path, **more: str) -> dict[str, str]:
    theirs = ("BF_", "PG", "PYTHON", "DATABASE_URL")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    return {
        **inherited,
        "DATABASE_URL": url,
        "PYTHONPYCACHEPREFIX": str(compiled),
        "PYTHONWARNINGS": "error",
        **more,
    }


@pytest.fixture
def ours(database: Database, compiled: Path) -> Project:
    return Project.ours(database.dsn, compiled)


def installed(site: Path, layout: str) -> Path:
    """The distribution as pip leaves it, from a wheel or editable, without pip."""
    info = site / "apg_bf_tenant_admin-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: apg-bf-tenant-admin\nVersion: 0.1.0\n")
    if layout == "editable":
        origin = {"url": ROOT.as_uri(), "dir_info": {"editable": True}}
        (info / "direct_url.json").write_text(json.dumps(origin))
    elif layout == "wheel":
        shutil.copytree(ROOT / "app" / "schema", site / "app" / "schema")
        shutil.copytree(ROOT / "migrations", site / "app" / "migrations")
    return site


ENV_PY = """
import asyncio
import json
import os
from alembic import context
from app import OURS
from sqlalchemy import create_engine, pool

assert OURS == "the shop's"
url = os.environ["DATABASE_URL"]

def migrate(connection):
    per = os.environ.get("PER_MIGRATION") == "yes"
    context.configure(connection=connection, transaction_per_migration=per)
    with context.begin_transaction():
        context.run_migrations()

async def migrate_async():
    from sqlalchemy.ext.asyncio import create_async_engine
    async with create_async_engine(url, poolclass=pool.NullPool).connect() as connection:
        await connection.run_sync(migrate)

if context.is_offline_mode():
    context.configure(dialect_name="postgresql")
    context.run_migrations()
elif "+asyncpg" in url:
    asyncio.run(migrate_async())
else:
    options = {"isolation_level": "AUTOCOMMIT"} if os.environ.get("AUTOCOMMIT") else {}
    with create_engine(url, poolclass=pool.NullPool, **options).connect() as connection:
        migrate(connection)
"""
EARLIER = """
from alembic import op
revision, down_revision = "shop1", None
def upgrade():
    op.execute("CREATE SCHEMA shop")
    op.execute("SET LOCAL lock_timeout = '77s'")
def downgrade():
    op.execute("DROP SCHEMA shop")
"""
LATER = """
from alembic import op
revision, down_revision = "shop2", ("shop1", "bf001_complete_2025")
def upgrade():
    op.execute("CREATE TABLE shop.seen AS SELECT current_setting('lock_timeout') AS lock_timeout")
def downgrade():
    op.execute("DROP TABLE shop.seen")
"""


def shop(directory: Path, url: str, compiled: Path, site: Path) -> Project:
    """A project with an `app` and revisions of its own, into which ours was copied."""
    files = {
        "alembic.ini": "[alembic]\nscript_location = alembic\nprepend_sys_path = .\npath_separator = os\n",
        "alembic/env.py": ENV_PY,
        "alembic/versions/shop1.py": EARLIER,
        "alembic/versions/shop2.py": LATER,
        "app/__init__.py": 'OURS = "the shop\'s"\n',
        "app/schema/__init__.py": "",
        "app/schema/script.py": "raise ImportError('this is the shop\\'s')\n",
    }
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    shutil.copy(REVISION, directory / "alembic" / "versions")
    return Project(
        directory=directory,
        config="alembic.ini",
        environment=environment(url, compiled, PYTHONPATH=str(site)),
    )


LAYOUTS = {"psycopg": "wheel", "psycopg2": "editable", "asyncpg": "wheel"}


@pytest.mark.parametrize("driver", DRIVERS)
async def test_up_and_down_here_and_in_a_foreign_project(
    cluster: Cluster, database: Database, compiled: Path, tmp_path: Path, driver: str
) -> None:
    """Both at once, in two databases which share the roles."""
    another = await new_database(cluster)
    site = installed(tmp_path / "site", LAYOUTS[driver])
    ours = Project.ours(database.url(driver), compiled)
    await asyncio.gather(
        up_and_down_here(database, ours),
        up_and_down_there(another, shop(tmp_path / "shop", another.url(driver), compiled, site)),
    )
    await cluster.drop_database(another.name)


async def up_and_down_here(database: Database, ours: Project) -> None:
    others = await database.others()
    await ours.alembic("upgrade", "head")
    assert await database.value(SETUP, "acme") is True
    assert await database.schemas() == ["bf_acme", "bf_control", "bf_queue", "bf_shared"]

    await ours.alembic("-x", f"confirm={database.name}", "downgrade", "base")
    assert await database.schemas() == []
    assert await database.value("SELECT count(*) FROM alembic_version") == 0
    assert await database.others() == others


async def up_and_down_there(database: Database, project: Project) -> None:
    others = await database.others()
    await project.alembic("upgrade", "head")
    assert await database.value(SETUP, "acme") is True
    # Ours left the timeout as the revision before it had set it, in the transaction which they share.
    assert await database.value("SELECT lock_timeout FROM shop.seen") == "77s"

    down = ("-x", f"confirm={database.name}", "downgrade", "bf001_complete_2025@base")
    await project.using(PER_MIGRATION="yes").alembic(*down)
    assert await database.schemas() == []
    assert await database.value("SELECT array_agg(version_num::text) FROM alembic_version") == ["shop1"]
    assert await database.value("SELECT to_regnamespace('shop')::text") == "shop"
    assert await database.others("--exclude-schema=shop") == others


async def test_a_downgrade_wants_the_name_of_the_database(database: Database, ours: Project) -> None:
    await database.upgrade("acme")
    before = await database.dump()
    refused, _ = await asyncio.gather(
        ours.alembic("downgrade", "base", fails=True),
        ours.alembic("-x", "confirm=another", "downgrade", "base", fails=True),
    )
    assert "tenant acme, schema bf_acme, " in refused
    assert f"alembic -x confirm={database.name} downgrade" in refused
    assert await database.dump() == before


async def test_what_others_hang_on_ours_stops_the_downgrade(database: Database, ours: Project) -> None:
    await database.upgrade("acme", "zeta")
    await database.execute("CREATE VIEW billing.budgets AS SELECT id FROM bf_zeta.budgets")
    await database.execute("CREATE TABLE bf_zeta.notes (note text)")
    before = await database.dump()
    down = ("-x", f"confirm={database.name}", "downgrade", "base")
    plan, stopped = await asyncio.gather(ours.alembic("downgrade", "base", fails=True), ours.alembic(*down, fails=True))
    assert "view billing.budgets depends on table bf_zeta.budgets" in plan
    assert "table bf_zeta.notes is in schema bf_zeta" in plan
    assert "DETAIL:  view billing.budgets depends on table bf_zeta.budgets" in stopped
    assert await database.dump() == before

    await database.execute("DROP VIEW billing.budgets")
    stopped = await ours.alembic(*down, fails=True)
    assert "cannot drop schema bf_zeta because other objects depend on it" in stopped
    assert "bf_acme" in await database.schemas()

    await database.execute("DROP TABLE bf_zeta.notes")
    await database.execute("CREATE VIEW billing.rates AS SELECT * FROM bf_shared.currency_rates")
    stopped = await ours.alembic(*down, fails=True)
    assert "view billing.rates depends on table bf_shared.currency_rates" in stopped
    assert "bf_acme" in await database.schemas()


async def test_roles_in_use_elsewhere_stay(cluster: Cluster, database: Database, ours: Project) -> None:
    await database.upgrade()
    neighbour = await new_database(cluster)
    await neighbour.execute("GRANT SELECT ON bfx_other.budgets TO audit_role; COMMENT ON ROLE app_role IS NULL")
    await database.execute("CREATE ROLE reporting; GRANT audit_role TO reporting")
    told = await ours.alembic("-x", f"confirm={database.name}", "downgrade", "base")
    assert f"role audit_role stays: needed by database {neighbour.name}; granted to reporting" in told
    assert "role app_role stays: its comment" in told
    assert await database.value(ROLES) == ["app_role", "audit_role"]
    await cluster.drop_database(neighbour.name)
    await database.execute("DROP ROLE reporting")


async def test_tenants_that_are_behind_are_brought_along(database: Database, compiled: Path, tmp_path: Path) -> None:
    await database.upgrade("acme", "zeta")
    site = installed(tmp_path / "site", "wheel")
    newer = site / "app" / "migrations" / "tenant" / f"{LATEST + 1:04}_extra.sql"
    newer.write_text("-- section: table\nALTER TABLE budgets ADD COLUMN extra text DEFAULT '100 %s :x';\n")
    project = shop(tmp_path / "shop", database.url("psycopg2"), compiled, site)
    await database.execute("DELETE FROM alembic_version; ALTER TABLE bf_acme.budgets ADD COLUMN extra text")
    failed = await project.alembic("upgrade", "bf001_complete_2025", fails=True)
    assert "1 of 2 tenants" in failed
    assert 'acme: column "extra" of relation "budgets" already exists' in failed
    versions = "SELECT array_agg(schema_version ORDER BY tenant_id) FROM bf_control.tenant"
    assert await database.value(versions) == [LATEST, LATEST + 1]
    assert await database.value("SELECT count(*) FROM alembic_version") == 0

    await database.execute("ALTER TABLE bf_acme.budgets DROP COLUMN extra")
    # An env.py that connects in AUTOCOMMIT gives no transaction: then the revision makes its own.
    await project.using(AUTOCOMMIT="yes").alembic("upgrade", "bf001_complete_2025")
    assert await database.value(versions) == [LATEST + 1, LATEST + 1]


async def test_autocommit_leaves_nothing_half_done(database: Database, compiled: Path, tmp_path: Path) -> None:
    site = installed(tmp_path / "site", "wheel")
    broken = site / "app" / "migrations" / "control" / "0003_broken.sql"
    broken.write_text("SELECT 1 / 0;\n")
    project = shop(tmp_path / "shop", database.url("psycopg"), compiled, site).using(AUTOCOMMIT="yes")
    await project.alembic("upgrade", "bf001_complete_2025", fails=True)
    assert await database.schemas() == []
    broken.unlink()
    await project.alembic("upgrade", "bf001_complete_2025")
    await project.alembic("-x", f"confirm={database.name}", "downgrade", "bf001_complete_2025@base")
    assert await database.schemas() == []
    assert await database.value(ROLES) == []


async def test_what_cannot_work_says_what_to_do(
    database: Database, compiled: Path, tmp_path: Path, ours: Project
) -> None:
    offline, flag, url, missing = await asyncio.gather(
        ours.alembic("upgrade", "head", "--sql", fails=True),
        ours.using(BF_ENABLE_RLS="maybe").alembic("upgrade", "head", fails=True),
        ours.using(DATABASE_URL="").alembic("upgrade", "head", fails=True),
        shop(tmp_path / "shop", database.url("psycopg"), compiled, installed(tmp_path / "site", "nothing")).alembic(
            "upgrade", "bf001_complete_2025", fails=True
        ),
    )
    assert "bf-admin sql upgrade" in offline
    assert "BF_ENABLE_RLS=maybe: true or false" in flag
    assert "DATABASE_URL is not set" in url
    assert "pip install '/path/to/the/clone of apg-bf-tenant-admin[alembic]'" in missing
    assert await database.schemas() == []


@pytest.mark.parametrize("driver", DRIVERS)
async def test_no_connection_and_no_right_on_public_are_one_line(
    database: Database, ours: Project, tmp_path: Path, driver: str
) -> None:
    """The URL is in a file here, as a secret of a container is."""
    await database.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC, bf_migrator")
    (tmp_path / "url").write_text(database.url(driver) + "\n")
    closed = f"postgresql+{driver}://u:hidden@127.0.0.1:{free_port()}/d"
    refused, unreached = await asyncio.gather(
        ours.using(DATABASE_URL="", DATABASE_URL_FILE=str(tmp_path / "url")).alembic("upgrade", "head", fails=True),
        ours.using(BF_DIRECT_DATABASE_URL=closed).alembic("upgrade", "head", fails=True),
    )
    assert "permission denied for schema public: GRANT CREATE ON SCHEMA public TO bf_migrator;" in refused
    assert "Cannot connect: " in unreached
    assert "bf-admin doctor" in unreached
    assert "Traceback" not in refused + unreached
    assert "hidden" not in unreached
    assert await database.schemas() == []


async def test_a_url_file_that_cannot_be_read_is_named(ours: Project, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    without = ours.using(DATABASE_URL="")
    told, twice = await asyncio.gather(
        without.using(BF_DIRECT_DATABASE_URL_FILE=missing).alembic("upgrade", "head", fails=True),
        ours.using(DATABASE_URL_FILE=missing).alembic("upgrade", "head", fails=True),
    )
    assert "BF_DIRECT_DATABASE_URL_FILE: " in told
    assert missing in told
    assert "DATABASE_URL and DATABASE_URL_FILE are both set" in twice
    assert "Traceback" not in told + twice
