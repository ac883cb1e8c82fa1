"""client.integrations, against a served instance and a scripted one."""

import asyncpg
import pytest

from app.client import AsyncClient, Conflict, NotFound, PreconditionFailed, PreconditionRequired, ValidationFailed
from tests.client.conftest import Connect
from tests.client.support import Scripted, answer, refusal

_ENDPOINT = "https://auth.apg.platform"


async def test_an_integration_is_put_read_and_deleted(client: AsyncClient, unique: str) -> None:
    await client.tenants.create(unique, "ACME")
    assert await client.integrations.every(unique) == []
    made = await client.integrations.put(unique, "auth_rbac", endpoint=_ENDPOINT, realm="acme")
    assert (made.enabled, made.endpoint, made.realm, made.valid) == (True, _ENDPOINT, "acme", True)
    assert not made.credentials["token"].set
    assert await client.integrations.get(unique, "auth_rbac") == made
    assert [one.capability for one in await client.integrations.every(unique)] == ["auth_rbac"]
    with pytest.raises(PreconditionRequired, match="precondition_required"):
        await client.integrations.put(unique, "auth_rbac", enabled=False)
    changed = await client.integrations.put(unique, "auth_rbac", enabled=False, if_match=made.etag)
    assert (changed.enabled, changed.endpoint) == (False, None)
    with pytest.raises(PreconditionFailed):
        await client.integrations.put(unique, "auth_rbac", enabled=True, if_match=made.etag)
    dry = await client.integrations.put(unique, "ai_orchestration", models=["forecasting"], validate_only=True)
    assert dry.models == ["forecasting"]
    with pytest.raises(NotFound):
        await client.integrations.check(unique, "ai_orchestration")
    with pytest.raises(Conflict, match="integration_without_endpoint"):
        await client.integrations.check(unique, "auth_rbac")
    with pytest.raises(ValidationFailed) as wrong:
        await client.integrations.put(unique, "notification_engine", endpoint="http://10.0.0.1")
    assert [error.pointer for error in wrong.value.errors] == ["/endpoint"]
    await client.integrations.delete(unique, "auth_rbac", if_match=changed.etag)
    with pytest.raises(NotFound, match="integration_not_found"):
        await client.integrations.delete(unique, "auth_rbac")


async def test_a_check_that_fails_is_an_answer(client: AsyncClient, unique: str, looking: asyncpg.Connection) -> None:
    await client.tenants.create(unique, "ACME", integrations={"auth_rbac": {"endpoint": _ENDPOINT}})
    await looking.execute(
        """UPDATE bf_shared.tenant_config SET apg_integrations = '{"auth_rbac": {"endpoint": "http://127.0.0.1"}}'
            WHERE tenant_id = $1""",
        unique,
    )
    checked = await client.integrations.check(unique, "auth_rbac")
    assert (checked.ok, checked.status) == (False, None)
    assert checked.error is not None
    assert checked.error.code == "endpoint_not_allowed"
    found = await client.integrations.get(unique, "auth_rbac")
    assert (found.valid, found.stored) == (False, {"endpoint": "http://127.0.0.1"})


_MADE = {
    "capability": "auth_rbac", "enabled": True, "endpoint": None, "realm": "acme", "level": None, "models": None,
    "credentials": {}, "valid": True, "errors": [], "stored": None,
}  # fmt: skip


async def test_a_put_whose_answer_was_lost_is_known_by_what_is_there(connect: Connect, script: Scripted) -> None:
    client = connect(script.url)
    lost, required = refusal(503), refusal(428, "precondition_required")
    script.answer(lost, required, answer(_MADE, ETag='"1"'))
    made = await client.integrations.put("acme_corp", "auth_rbac", realm="acme")
    assert (made.realm, made.etag) == ("acme", '"1"')


async def test_nor_is_it_taken_for_done_where_something_else_is_there(connect: Connect, script: Scripted) -> None:
    client = connect(script.url)
    script.answer(refusal(503), refusal(412, "precondition_failed"), answer(_MADE, ETag='"1"'))
    with pytest.raises(PreconditionFailed):
        await client.integrations.put("acme_corp", "auth_rbac", realm="other", if_match='"0"')


async def test_of_secrets_nobody_can_tell_whether_they_were_set(connect: Connect, script: Scripted) -> None:
    client = connect(script.url)
    script.answer(refusal(503), refusal(412, "precondition_failed"), answer(_MADE, ETag='"1"'))
    with pytest.raises(PreconditionFailed):
        await client.integrations.put(
            "acme_corp", "auth_rbac", realm="acme", credentials={"token": "t"}, if_match='"0"'
        )


async def test_what_an_earlier_try_removed_is_removed(connect: Connect, script: Scripted) -> None:
    client = connect(script.url)
    script.answer(refusal(503), refusal(404, "integration_not_found"))
    await client.integrations.delete("acme_corp", "auth_rbac")
    assert [seen.method for seen in script.seen] == ["DELETE", "DELETE"]
