"""client.config against a served instance."""

import pytest

from app.client import AsyncClient, Conflict, NotFound, PreconditionFailed, ValidationFailed
from tests.config.support import OTHER


async def test_it_is_read_replaced_and_merged(client: AsyncClient, unique: str) -> None:
    await client.tenants.create(unique, "ACME", config={"default_currency": "EUR"})
    read = await client.config.get(unique)
    assert (read.default_currency, read.data_retention_days) == ("EUR", 2555)
    assert read.etag is not None
    replaced = await client.config.replace(unique, OTHER, if_match=read.etag)
    assert replaced.document == OTHER
    assert (await client.config.get(unique)) == replaced
    with pytest.raises(PreconditionFailed):
        await client.config.replace(unique, OTHER, if_match=read.etag)
    merged = await client.config.update(
        unique, {"budget_features": {"rounding": None}, "time_zone": None}, if_match=replaced.etag
    )
    assert (merged.budget_features, merged.time_zone) == ({"rolling": True}, "UTC")
    assert (await client.config.update(unique, {"audit_level": "full"}, validate_only=True)).audit_level == "full"
    assert await client.config.get(unique) == merged
    with pytest.raises(ValidationFailed) as refused:
        await client.config.update(unique, {"default_currency": "XXX"})
    assert [error.pointer for error in refused.value.errors] == ["/default_currency"]
    with pytest.raises(NotFound, match="tenant_not_found"):
        await client.config.get("nobody")


async def test_its_history_leads_back(client: AsyncClient, unique: str) -> None:
    await client.tenants.create(unique, "ACME")
    for days in (10, 20, 30):
        await client.config.update(unique, {"data_retention_days": days})
    found = [version async for version in client.config.history(unique, page_size=2)]
    assert [version.version for version in found] == [4, 3, 2, 1]
    [change] = found[0].difference
    assert (change.pointer, change.before, change.after) == ("/data_retention_days", 20, 30)
    would_be = await client.config.rollback(unique, 2, validate_only=True)
    assert (would_be.version, would_be.restored_version) == (5, 2)
    etag = (await client.config.get(unique)).etag
    made = await client.config.rollback(unique, 2, reason="too long", if_match=etag, idempotency_key=unique)
    assert (made.version, made.reason, made.restored_version) == (5, "too long", 2)
    assert await client.config.rollback(unique, 2, reason="too long", if_match=etag, idempotency_key=unique) == made
    assert (await client.config.get(unique)).data_retention_days == 10
    with pytest.raises(NotFound, match="version_not_found"):
        await client.config.rollback(unique, 99)
    await client.tenants.delete(unique)
    with pytest.raises(Conflict, match="tenant_state_forbids"):
        await client.config.rollback(unique, 1)
