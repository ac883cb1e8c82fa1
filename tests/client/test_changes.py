"""Changes to tenants and schema of a served instance."""

import secrets
from pathlib import Path

import pytest

from app.client import AsyncClient, Conflict, NotFound, Operation, PreconditionFailed, Tenant, ValidationFailed
from tests.client.conftest import Connect
from tests.support.cluster import Cluster
from tests.support.processes import environment, served


async def test_put_makes_a_tenant_once(client: AsyncClient, unique: str) -> None:
    made = await client.tenants.put(unique, "ACME", limits={"max_budgets": 5})
    assert made.state == "active"
    assert await client.tenants.put(unique, "ACME", limits={"max_budgets": 5}) == made
    assert isinstance(await client.tenants.put(unique, "ACME", limits={"max_budgets": 5}, wait=False), Tenant)
    with pytest.raises(Conflict, match="tenant_request_differs"):
        await client.tenants.put(unique, "Another")


async def test_a_batch_says_what_became_of_each(client: AsyncClient, unique: str) -> None:
    await client.tenants.create(unique, "ACME")
    batch = await client.tenants.batch(
        [
            {"tenant_id": unique, "tenant_name": "ACME"},
            {"tenant_id": f"{unique}_2", "tenant_name": "ACME Two", "subscription_tier": None},
        ]
    )
    refused, accepted = batch.items
    assert (batch.accepted, batch.refused, refused.status, accepted.status) == (1, 1, 409, 202)
    assert refused.problem is not None
    assert refused.problem.code == "tenant_exists"
    assert accepted.operation is not None
    await client.operations.wait(accepted.operation.rpartition("/")[2])
    assert (await client.tenants.get(f"{unique}_2")).state == "active"


async def test_many_are_changed_at_once(client: AsyncClient, unique: str) -> None:
    for number in range(2):
        await client.tenants.create(f"{unique}_{number}", "ACME")
    preview = await client.tenants.preview_change(subscription_tier="premium", q=unique)
    assert (preview.tenants, {item.status for item in preview.items}) == (2, {"changed"})
    operation = await client.tenants.change_many(
        subscription_tier="premium", features={"ai_insights": False}, q=unique, tier="standard"
    )
    assert operation.result == {"changed": 2, "unchanged": 0, "refused": 0}
    assert [target.status async for target in client.tenants.targets(operation)] == ["changed"] * 2
    assert (await client.tenants.get(f"{unique}_1")).subscription_tier == "premium"
    with pytest.raises(ValidationFailed):
        await client.tenants.change_many(subscription_tier="premium")


async def test_put_need_not_be_waited_for(client: AsyncClient, unique: str) -> None:
    accepted = await client.tenants.put(unique, "ACME", wait=False)
    assert isinstance(accepted, Operation)
    await client.operations.wait(accepted)


async def test_a_change_is_guarded_by_what_was_read(client: AsyncClient, unique: str) -> None:
    made = await client.tenants.create(unique, "ACME", billing_contact="old@example.com")
    assert made.etag is not None
    assert made.etag == (await client.tenants.get(unique)).etag
    changed = await client.tenants.update(unique, tenant_name="ACME Corporation", if_match=made.etag)
    assert (changed.tenant_name, changed.billing_contact) == ("ACME Corporation", "old@example.com")
    with pytest.raises(PreconditionFailed, match="precondition_failed"):
        await client.tenants.update(unique, tenant_name="Late", if_match=made.etag)
    cleared = await client.tenants.update(unique, billing_contact=None, if_match=changed.etag)
    assert (cleared.tenant_name, cleared.billing_contact) == ("ACME Corporation", None)
    with pytest.raises(ValidationFailed):
        await client.tenants.update(unique, tenant_name="")


async def test_a_tenant_is_read_whole(client: AsyncClient, unique: str) -> None:
    await client.tenants.create(
        unique, "ACME", features_enabled=["ai_insights"], limits={"max_budgets": 5}, config={"default_currency": "EUR"}
    )
    whole = await client.tenants.get(unique, view="full")
    assert whole.config is not None
    assert whole.config["default_currency"] == "EUR"
    assert [feature.name for feature in whole.features or ()] == ["ai_insights"]
    assert (whole.limits or {})["max_budgets"] == 5
    assert whole.health.status == "pass"


async def test_a_dry_run_changes_nothing(client: AsyncClient, unique: str) -> None:
    would_be = await client.tenants.create(unique, "ACME", validate_only=True)
    assert (would_be.tenant_id, would_be.state) == (unique, "provisioning")
    assert (await client.tenants.put(unique, "ACME", validate_only=True)).tenant_id == unique
    with pytest.raises(NotFound):
        await client.tenants.get(unique)
    made = await client.tenants.create(unique, "ACME")
    assert (await client.tenants.update(unique, tenant_name="B", validate_only=True)).tenant_name == "B"
    assert await client.tenants.get(unique) == made
    assert (await client.schema.upgrade(validate_only=True)).up_to_date


async def test_lists_are_filtered(client: AsyncClient, unique: str) -> None:
    await client.tenants.create(f"{unique}_a", "A", features_enabled=["real_time_collaboration"])
    await client.tenants.create(f"{unique}_b", "B", subscription_tier="premium")

    async def found(**filters: object) -> list[str]:
        return [tenant.tenant_id async for tenant in client.tenants.list(q=unique, **filters)]

    assert await found(feature="real_time_collaboration") == [f"{unique}_a"]
    assert await found(tier="premium") == [f"{unique}_b"]
    assert await found(schema_version=99) == []
    assert await found(state="active", order_by="-name") == [f"{unique}_b", f"{unique}_a"]


async def test_the_schema_as_a_script(client: AsyncClient) -> None:
    assert "CREATE SCHEMA" in await client.schema.sql()


async def test_nothing_is_destroyed_without_a_valid_confirmation(client: AsyncClient, unique: str) -> None:
    await client.tenants.create(unique, "ACME")
    plan = await client.schema.plan_downgrade()
    assert unique in {tenant.tenant_id for tenant in plan.tenants}
    assert plan.bytes > 0
    with pytest.raises(Conflict, match="confirmation_invalid"):
        await client.schema.downgrade("made up")
    assert (await client.tenants.get(unique)).state == "active"


async def test_what_was_planned_is_destroyed(connect: Connect, cluster: Cluster, template: str, tmp_path: Path) -> None:
    name = f"downgrade_{secrets.token_hex(6)}"
    dsn = await cluster.create_database(name, template=template)
    async with served("--with-worker", env=environment(dsn), directory=tmp_path) as running:
        key = running.client.headers["Authorization"].removeprefix("Bearer ")
        client = connect(str(running.client.base_url), api_key=key)
        await client.tenants.create("doomed", "Doomed")
        plan = await client.schema.plan_downgrade()
        assert plan.confirmation is not None
        ended = await client.schema.downgrade(plan.confirmation)
        assert (ended.kind, ended.status) == ("schema.downgrade", "succeeded")
        assert (await client.schema.get()).current["shared"] is None
    await cluster.drop_database(name)


async def test_a_tenant_is_suspended_deleted_and_brought_back(client: AsyncClient, unique: str) -> None:
    made = await client.tenants.create(unique, "ACME")
    assert (await client.tenants.suspend(unique, validate_only=True)).state == "suspended"
    suspended = await client.tenants.suspend(unique, reason="unpaid")
    assert (suspended.state, suspended.state_reason) == ("suspended", "unpaid")
    with pytest.raises(Conflict, match="tenant_state_forbids"):
        await client.tenants.suspend(unique)
    assert (await client.tenants.resume(unique)).is_active
    with pytest.raises(PreconditionFailed):
        await client.tenants.delete(unique, if_match=made.etag)
    deleted = await client.tenants.delete(unique, reason="left")
    assert (deleted.state, deleted.purge_time is None) == ("deleted", False)
    assert await client.tenants.delete(unique) == deleted
    assert (await client.tenants.restore(unique)).state == "active"


async def test_a_tenant_is_backed_up_purged_and_brought_back(client: AsyncClient, unique: str) -> None:
    made = await client.tenants.create(unique, "ACME")
    backup = await client.tenants.backup(unique, reason="before it goes")
    assert (backup.tenant_id, backup.reason, len(backup.tables)) == (unique, "before it goes", 6)
    with pytest.raises(Conflict, match="tenant_state_forbids"):
        await client.tenants.plan_purge(unique)
    await client.tenants.delete(unique)
    with pytest.raises(Conflict, match="confirmation_invalid"):
        await client.tenants.purge(unique, "none")
    plan = await client.tenants.plan_purge(unique)
    assert (plan.tables, plan.rows, plan.rows_are, plan.confirmation is None) == (6, 0, "exact", False)
    purged = await client.tenants.purge(unique, plan.confirmation or "", reason="gone")
    assert (purged.status, purged.kind) == ("succeeded", "tenant.purge")
    with pytest.raises(NotFound):
        await client.tenants.get(unique)
    assert [one.id async for one in client.tenants.backups(unique)] == [purged.id, backup.id]
    restored = await client.tenants.restore(unique, backup_id=backup.id)
    assert (restored.state, restored.created_at) == ("active", made.created_at)
    asked = await client.tenants.backup(unique, wait=False)
    assert isinstance(asked, Operation)
    await client.operations.wait(asked)
