"""client.api_keys, in both flavours."""

import pytest

from app.client import AsyncClient, Conflict, NotFound


async def test_keys_are_made_rotated_and_revoked(client: AsyncClient, unique: str) -> None:
    await client.tenants.create(unique, "ACME")
    dry = await client.api_keys.create(unique, "viewer", tenant_id=unique, validate_only=True)
    assert dry.key is None
    made = await client.api_keys.create(unique, "viewer", tenant_id=unique)
    assert made.key is not None
    assert made.key not in repr(made)
    read = await client.api_keys.get(made.id)
    assert (read.name, read.role, read.tenant_id, read.usable) == (unique, "viewer", unique, True)
    new = await client.api_keys.rotate(made.id, overlap_seconds=60)
    assert (new.replaces, new.key is None) == (made.id, False)
    with pytest.raises(Conflict, match="api_key_rotated"):
        await client.api_keys.rotate(made.id)
    await client.api_keys.revoke(new.id)
    listed = {key.id: key async for key in client.api_keys.list(page_size=1)}
    assert (listed[made.id].usable, listed[new.id].usable) == (True, False)
    with pytest.raises(NotFound):
        await client.api_keys.revoke("0" * 16)
    again = await client.api_keys.create(unique, "viewer", idempotency_key=f"{unique}-key")
    replayed = await client.api_keys.create(unique, "viewer", idempotency_key=f"{unique}-key")
    assert (replayed.id, replayed.key) == (again.id, None)
