"""Both flavours against `bf-admin serve --with-worker`."""

import asyncio

import asyncpg
import pytest

from app.client import (
    AsyncClient,
    Conflict,
    NotFound,
    OperationStatus,
    TenantState,
    Unauthorized,
    ValidationFailed,
)
from tests.client.conftest import Connect, Service


async def test_a_tenant_is_made_and_waited_for(client: AsyncClient, unique: str) -> None:
    made = await client.tenants.create(
        unique,
        "ACME Corporation",
        created_by="admin_user_123",
        features_enabled=["ai_insights"],
        limits={"max_budgets": 500},
        config={"default_currency": "EUR"},
    )
    assert (made.tenant_id, made.state, made.is_active) == (unique, TenantState.ACTIVE, True)
    assert made.created_by == "admin_user_123"
    assert (await client.tenants.get(unique)).tenant_id == unique


async def test_a_tenant_is_made_and_followed(client: AsyncClient, unique: str) -> None:
    accepted = await client.tenants.create(unique, "ACME", wait=False)
    assert (accepted.kind, accepted.tenant_id) == ("tenant.provision", unique)
    ended = await client.operations.wait(accepted, seconds=20)
    assert (ended.id, ended.status, ended.done) == (accepted.id, OperationStatus.SUCCEEDED, True)
    assert (await client.operations.get(str(accepted.id))).status == "succeeded"
    assert (await client.tenants.get(unique)).state == "active"


async def test_the_same_key_again_is_the_same_tenant(client: AsyncClient, unique: str) -> None:
    first = await client.tenants.create(unique, "ACME", idempotency_key=f"key-{unique}")
    again = await client.tenants.create(unique, "ACME", idempotency_key=f"key-{unique}")
    assert again == first
    with pytest.raises(ValidationFailed, match="idempotency_key_reused"):
        await client.tenants.create(unique, "Another", idempotency_key=f"key-{unique}")


async def test_refusals_have_types(client: AsyncClient, connect: Connect, service: Service, unique: str) -> None:
    await client.tenants.create(unique, "ACME")
    with pytest.raises(Conflict):
        await client.tenants.create(unique, "ACME")
    with pytest.raises(NotFound, match="tenant_not_found"):
        await client.tenants.get("nobody_here")
    with pytest.raises(ValidationFailed) as caught:
        await client.tenants.create("pg_evil", "")
    assert {error.pointer for error in caught.value.errors} == {"/tenant_id", "/tenant_name"}
    assert caught.value.request_id is not None
    with pytest.raises(Unauthorized):
        await connect(service.url, api_key="bfk_no.body").tenants.get(unique)


async def test_lists_are_followed_over_their_pages(client: AsyncClient, unique: str) -> None:
    ids = [f"{unique}_{number}" for number in range(5)]
    await asyncio.gather(*(client.tenants.create(tenant_id, "Paged") for tenant_id in ids))
    found = client.tenants.list(q=unique, order_by="-id", page_size=2)
    assert [tenant.tenant_id async for tenant in found] == ids[::-1]
    pages = [page async for page in found.pages()]
    assert [len(page.items) for page in pages] == [2, 2, 1]
    rest = client.tenants.list(q=unique, order_by="-id", page_size=2, page_token=pages[0].next_page_token)
    assert [tenant.tenant_id async for tenant in rest] == ids[2::-1]
    assert [tenant async for tenant in client.tenants.list(q=unique, state="failed")] == []


async def test_the_schema_is_read_and_brought_up_to_date(client: AsyncClient) -> None:
    state = await client.schema.upgrade()
    assert state.up_to_date
    assert state.current == state.latest
    assert state == await client.schema.get()
    accepted = await client.schema.upgrade(wait=False)
    assert (await client.operations.wait(accepted)).kind == "schema.upgrade"


async def test_the_probes(connect: Connect, service: Service) -> None:
    client = connect(service.url, api_key=None)
    assert (await client.health.live()).status == "pass"
    ready = await client.health.ready()
    assert ready.checks["database"].status == "pass"


async def test_a_request_id_is_the_services_too(client: AsyncClient, looking: asyncpg.Connection, unique: str) -> None:
    await client.traced(request_id=f"trace-{unique}").tenants.create(unique, "ACME")
    query = "SELECT request_id FROM bf_control.operation WHERE tenant_id = $1"
    assert await looking.fetchval(query, unique) == f"trace-{unique}"
