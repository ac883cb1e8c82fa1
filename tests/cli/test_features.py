"""bf-admin features and catalog, as people use them."""

import asyncpg

from tests.support.command import command
from tests.support.data import make_tenant
from tests.support.processes import environment

_NAMES = "SELECT features::text[] FROM bf_control.tenant"
_LAST = "SELECT actor, action, target FROM bf_control.audit ORDER BY id DESC LIMIT 1"


async def test_a_feature_is_enabled_and_the_list_says_why(dsn: str, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await conn.execute("""UPDATE bf_shared.tenant_config SET features_enabled = '["zeta", "ai_forecasting"]'""")
    env = environment(dsn)
    done = await command("features", "enable", "acme_corp", "ai_insights", env=env)
    assert (done.code, done.stdout.splitlines()[1].split("\t")[:3]) == (0, ["ai_insights", "on", "tenant"])
    assert sorted(await conn.fetchval(_NAMES)) == ["ai_forecasting", "ai_insights", "zeta"]
    row = await conn.fetchrow(_LAST)
    assert (row["actor"].partition(":")[0], row["action"]) == ("cli", "tenant.change_feature")
    listed = (await command("features", "list", "acme_corp", env=env)).stdout.splitlines()
    told = {line.split("\t")[0]: line.split("\t")[1:] for line in listed[1:]}
    assert told["zeta"] == ["on", "tenant", "not in the catalogue"]
    assert told["ai_forecasting"] == ["on", "tenant", "requires advanced_forecasting"]
    assert told["scenario_planning"] == ["off", "default", ""]
    assert (await command("features", "reset", "acme_corp", "zeta", env=env)).code == 0
    assert "zeta" not in await conn.fetchval(_NAMES)


async def test_what_is_refused_names_the_mend(dsn: str, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    env = environment(dsn)
    for arguments, code, said in (
        (("features", "enable", "acme_corp", "ai_insight"), 1, "did you mean ai_insights?"),
        (
            ("features", "enable", "acme_corp", "ai_forecasting"),
            1,
            "requires advanced_forecasting, to be enabled first",
        ),
        (("features", "reset", "acme_corp", "nothing"), 1, "Neither the catalogue nor the tenant"),
        (("features", "list", "nobody"), 1, "There is no such tenant"),
        (("catalog", "put-feature", "exports", "--tier", "premum"), 1, "did you mean premium?"),
        (("catalog", "put-feature", "Exports"), 2, "NAME: "),
        (("catalog", "put-feature", "exports", "--requires", "No!"), 2, "--requires: "),
        (("catalog", "put-tier", "gold"), 2, "--rank"),
    ):
        refused = await command(*arguments, env=env)
        assert refused.code == code, refused
        assert said in refused.stderr, refused
    assert await conn.fetchval("SELECT count(*) FROM bf_control.feature") == 8


async def test_the_catalogue_is_added_to_and_tenants_follow(dsn: str, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    env = environment(dsn)
    added = await command("catalog", "put-feature", "exports", "--tier", "standard", "--description", "X", env=env)
    assert (added.code, added.stdout) == (0, "The catalogue has exports.\n")
    assert await conn.fetchval(_NAMES) == ["exports"]
    assert (await command("catalog", "put-tier", "gold", "--rank", "45", env=env)).code == 0
    tiers = (await command("catalog", "tiers", env=env)).stdout.splitlines()
    assert [line.split("\t")[0] for line in tiers[1:]] == [
        "basic", "standard", "professional", "premium", "gold", "enterprise",
    ]  # fmt: skip
    features = (await command("catalog", "features", env=env)).stdout
    assert "exports\tstandard\t-\tX" in features
