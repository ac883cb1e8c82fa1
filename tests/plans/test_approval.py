"""BF_SECOND_APPROVER: nobody destroys anything alone."""

from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from app.settings import Settings
from tests.support.api import Api, running_api
from tests.support.data import make_tenant, schemas, settings_for
from tests.support.plans import planned
from tests.support.problems import problem
from tests.support.processes import bf_admin, environment

_PURGE = "/v1/tenants/acme_corp/purge"


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    return settings_for(dsn, bootstrap_admin_key_file=tmp_path / "admin-key", second_approver=True)


@pytest.fixture
async def deleted(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await conn.execute("SELECT bf_shared.delete_tenant('acme_corp', 'left')")


async def _plan(api: Api) -> dict[str, Any]:
    return await planned(api.client, _PURGE, {"waive_backup": True})


async def _confirm(api: Api, plan: dict[str, Any]) -> httpx.Response:
    body = {"waive_backup": True, "confirmation": plan["confirmation"]}
    return await api.client.post(_PURGE, json=body)


async def _approve(api: Api, plan_id: str, key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return await api.client.post(f"/v1/plans/{plan_id}/approve", headers=headers)


@pytest.mark.usefixtures("deleted")
async def test_a_plan_is_carried_out_once_a_second_admin_has_approved_it(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    plan = await _plan(idle_api)
    assert plan["needs_approval"] is True
    waiting = problem(await _confirm(idle_api, plan), 409, "approval_needed")
    assert waiting["plan"] == f"/v1/plans/{plan['plan_id']}"
    problem(await _approve(idle_api, plan["plan_id"]), 403, "own_plan")
    problem(await _approve(idle_api, plan["plan_id"], await idle_api.key(Role.OPERATOR)), 403, "forbidden")
    problem(await _confirm(idle_api, plan), 409, "approval_needed")

    second = await idle_api.key(Role.ADMIN)
    read = await idle_api.client.get(f"/v1/plans/{plan['plan_id']}", headers={"Authorization": f"Bearer {second}"})
    shown = read.json()
    assert (shown["action"], shown["target"], shown["approved_by"]) == ("tenant.purge", "tenant/acme_corp", None)
    assert shown["loss"]["tables"] == 6
    assert plan["confirmation"] not in read.text
    dry = await idle_api.client.post(
        f"/v1/plans/{plan['plan_id']}/approve",
        params={"validate_only": "true"},
        headers={"Authorization": f"Bearer {second}"},
    )
    assert (dry.status_code, dry.json()["approved_by"] is None) == (200, False)
    problem(await _confirm(idle_api, plan), 409, "approval_needed")
    approved = await _approve(idle_api, plan["plan_id"], second)
    assert approved.status_code == 200, approved.text
    assert (await _approve(idle_api, plan["plan_id"], second)).json() == approved.json(), "twice is fine"
    assert (await _confirm(idle_api, plan)).status_code == 202
    problem(await _approve(idle_api, plan["plan_id"], second), 409, "plan_used")

    by = approved.json()["approved_by"]
    audited = await conn.fetch(
        """SELECT actor, action, target, after->>'approved_by' AS by FROM bf_control.audit
            WHERE action IN ('plan.approve', 'tenant.purge') ORDER BY id"""
    )
    assert [(row["actor"] == by, row["action"], row["target"], row["by"]) for row in audited] == [
        (True, "plan.approve", f"plan/{plan['plan_id']}", None),
        (False, "tenant.purge", "tenant/acme_corp", by),
    ]


@pytest.mark.usefixtures("deleted")
async def test_an_approval_of_another_plan_or_too_late_is_none(idle_api: Api, conn: asyncpg.Connection) -> None:
    second = await idle_api.key(Role.ADMIN)
    first, other = await _plan(idle_api), await _plan(idle_api)
    assert (await _approve(idle_api, other["plan_id"], second)).status_code == 200
    problem(await _confirm(idle_api, first), 409, "approval_needed")
    for unknown in ("x", "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e13", first["confirmation"]):
        problem(await _approve(idle_api, unknown, second), 404, "plan_not_found")
    await conn.execute("UPDATE bf_control.plan SET expires_at = now()")
    problem(await _approve(idle_api, first["plan_id"], second), 404, "plan_not_found")
    problem(await _confirm(idle_api, other), 409, "confirmation_invalid")
    assert "bf_acme_corp" in await schemas(conn)


@pytest.mark.usefixtures("deleted")
async def test_a_plan_made_before_the_setting_needs_the_approval_too(idle_api: Api, dsn: str, tmp_path: Path) -> None:
    """It is the process that is asked to destroy which decides, or the one that made the plan."""
    lax = settings_for(dsn, bootstrap_admin_key_file=tmp_path / "admin-key")
    async with running_api(lax, with_worker=False) as other:
        plan = await _plan(other)
        assert plan["needs_approval"] is False
        problem(await _confirm(idle_api, plan), 409, "approval_needed")
        strict = await _plan(idle_api)
        problem(await _confirm(other, strict), 409, "approval_needed")
        assert (await _confirm(other, plan)).status_code == 202


async def test_whoever_approves_cannot_be_who_planned_in_sql_either(
    idle_api: Api, conn: asyncpg.Connection, deleted: None
) -> None:
    await _plan(idle_api)
    with pytest.raises(asyncpg.CheckViolationError):
        await conn.execute("UPDATE bf_control.plan SET approved_by = actor, approved_at = now()")


@pytest.mark.usefixtures("deleted")
async def test_the_command_line_waits_for_a_second_one(dsn: str, idle_api: Api, conn: asyncpg.Connection) -> None:
    env = environment(dsn, BF_SECOND_APPROVER="true", USER="alice", LOGNAME="alice")
    command = ("tenant", "purge", "acme_corp", "--waive-backup")
    asked = await bf_admin(*command, "--yes", env=env)
    assert asked.code == 1
    token = asked.stderr.rpartition("--confirmation ")[2].strip()
    plan_id = str(await conn.fetchval("SELECT id FROM bf_control.plan"))
    early = await bf_admin(*command, "--confirmation", token, env=env)
    assert (early.code, "another admin" in early.stderr.lower()) == (1, True), early.stderr
    own = await bf_admin("plan", "approve", plan_id, env=env)
    assert own.code == 1, own.stdout
    assert (await _approve(idle_api, plan_id)).status_code == 200
    done = await bf_admin(*command, "--confirmation", token, "--json", env=env)
    assert done.code == 0, done.stderr
    assert "bf_acme_corp" not in await schemas(conn)


async def test_a_downgrade_by_command_waits_too(dsn: str, idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    env = environment(dsn, BF_SECOND_APPROVER="true")
    before = await schemas(conn)
    asked = await bf_admin("downgrade", "--confirm-destroy", env=env)
    assert asked.code == 1
    token = asked.stderr.rpartition("--confirmation ")[2].strip()
    assert (await bf_admin("downgrade", "--confirm-destroy", "--confirmation", token, env=env)).code == 1
    assert await schemas(conn) == before
    plan_id = str(await conn.fetchval("SELECT id FROM bf_control.plan"))
    assert (await _approve(idle_api, plan_id)).status_code == 200
    done = await bf_admin("downgrade", "--confirm-destroy", "--confirmation", token, env=env)
    assert done.code == 0, done.stderr
    assert await schemas(conn) == set()
