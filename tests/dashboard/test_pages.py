"""What the pages show and do, without a browser: every one of them is whole without JavaScript."""

from datetime import timedelta

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from tests.support.api import Api
from tests.support.data import make_tenant, suspend
from tests.support.polling import ended
from tests.support.visitor import forms, text, visiting

_HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;{{7*7}}"


async def test_a_viewer_sees_the_fleet_a_tenant_and_its_operations(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    async with visiting(idle_api.app) as visitor:
        home = await visitor.sign_in(await idle_api.key(Role.VIEWER))
        assert home.url.path == "/ui/fleet"
        assert "Tenants 1" in text(home)
        listed = await visitor.get("/ui/tenants")
        assert "acme_corp" in text(listed)
        assert "ACME Corporation" in text(listed)
        tenant = await visitor.get("/ui/tenants/acme_corp")
        assert tenant.status_code == 200
        for section in ("Health", "Limits", "Size and growth", "Features", "Configuration", "Operations"):
            assert section in text(tenant)
        assert (await visitor.get("/ui/tenants/acme_corp/history")).status_code == 200
        assert (await visitor.get("/ui/operations")).status_code == 200


async def test_nobody_is_shown_what_their_role_may_not_do(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    shown = {
        Role.VIEWER: set(),
        Role.OPERATOR: {"suspend", "verify"},
        Role.ADMIN: {"suspend", "verify", "delete"},
    }
    for role, actions in shown.items():
        async with visiting(idle_api.app) as visitor:
            await visitor.sign_in(await idle_api.key(role))
            page = await visitor.get("/ui/tenants/acme_corp")
            found = {action.rpartition("/")[2] for action in forms(page) if action.startswith("/ui/tenants/acme_corp/")}
            assert found == actions, role
            listed = await visitor.get("/ui/tenants")
            assert ("/ui/tenants/new" in listed.text) is (role is not Role.VIEWER)
            assert "/ui/audit" not in listed.text


async def test_a_tenant_is_suspended_resumed_deleted_and_restored(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    async with visiting(idle_api.app) as visitor:
        await visitor.sign_in(await idle_api.key(Role.ADMIN))
        page = await visitor.get("/ui/tenants/acme_corp")
        here = "/ui/tenants/acme_corp"
        page = await visitor.send(page, f"{here}/suspend", reason="Invoice 114")
        assert "The tenant is suspended." in text(page)
        assert "“Invoice 114”" in text(page)
        page = await visitor.send(page, f"{here}/resume")
        assert "active again" in text(page)
        slipped = await visitor.send(page, f"{here}/delete", confirm="acme")
        assert slipped.status_code == 422
        page = await visitor.send(page, f"{here}/delete", confirm="acme_corp")
        assert "is deleted" in text(page)
        page = await visitor.send(page, f"{here}/restore")
        assert "what it was before" in text(page)
    actions = await conn.fetch(
        "SELECT action FROM bf_control.audit WHERE target = 'tenant/acme_corp' AND actor LIKE 'key:%' ORDER BY id"
    )
    assert [r["action"] for r in actions] == ["tenant.suspend", "tenant.resume", "tenant.delete", "tenant.restore"]


async def test_a_tenant_is_created_by_a_form_once_however_often_it_is_sent(api: Api, conn: asyncpg.Connection) -> None:
    async with visiting(api.app) as visitor:
        await visitor.sign_in(await api.key(Role.OPERATOR))
        form = await visitor.get("/ui/tenants/new")
        fields = {"tenant_id": "acme_corp", "tenant_name": "ACME Corporation", "default_currency": "EUR"}
        first = await visitor.send(form, "/ui/tenants", follow=False, **fields)
        second = await visitor.send(form, "/ui/tenants", follow=False, **fields)
        assert first.status_code == second.status_code == 303
        assert first.headers["Location"] == second.headers["Location"]
        page = await visitor.get(first.headers["Location"])
        assert "tenant.provision" in text(page)
        operation_id = first.headers["Location"].rpartition("/")[2]
        await ended(api.client, f"/v1/operations/{operation_id}", within=60)
        done = await visitor.get(f"/ui/operations/{operation_id}")
        assert "setup tenant" in text(done)
        assert "hx-trigger" not in done.text, "it has ended: nothing is asked any more"
    currency = await conn.fetchval("SELECT default_currency FROM bf_shared.tenant_config WHERE tenant_id = 'acme_corp'")
    assert currency == "EUR"


async def test_a_wrong_field_is_named_beside_it_and_what_was_written_stays(idle_api: Api) -> None:
    async with visiting(idle_api.app) as visitor:
        await visitor.sign_in(await idle_api.key(Role.OPERATOR))
        form = await visitor.get("/ui/tenants/new")
        wrong = {"tenant_id": "Not An Id", "tenant_name": "ACME", "default_currency": "XXY", "max_budgets": "-3"}
        page = await visitor.send(form, "/ui/tenants", **wrong)
        assert page.status_code == 422
        assert "must have 2 to 36 of a-z" in text(page)
        kept = forms(page)["/ui/tenants"].fields
        assert {name: kept[name] for name in wrong} == wrong


async def test_the_list_is_searched_filtered_and_sorted(idle_api: Api, conn: asyncpg.Connection) -> None:
    for number in range(3):
        await make_tenant(conn, f"firm_{number}", f"Firm {9 - number}")
    await suspend(conn, "firm_1")
    async with visiting(idle_api.app) as visitor:
        await visitor.sign_in(await idle_api.key(Role.VIEWER))

        async def ids(query: str) -> list[str]:
            page = await visitor.get(f"/ui/tenants?{query}")
            assert page.status_code == 200, page.text
            return [part.partition('"')[0] for part in page.text.split('href="/ui/tenants/firm_')[1:]]

        assert await ids("") == ["0", "1", "2"]
        assert await ids("q=&state=&tier=&feature=&schema_version=") == ["0", "1", "2"]
        assert await ids("state=suspended") == ["1"]
        assert await ids("q=irm+8") == ["1"]
        assert await ids("order_by=name") == ["2", "1", "0"]
        assert await ids("order_by=-id") == ["2", "1", "0"]
        assert await ids("q=nothing") == []
        assert "three characters" in text(await visitor.get("/ui/tenants?q=a"))
        assert (await visitor.get("/ui/tenants?state=odd")).status_code == 422
        assert (await visitor.get("/ui/tenants?colour=red")).status_code == 422
        assert (await visitor.get("/ui/tenants?page_token=abc")).status_code == 400


async def test_what_somebody_wrote_is_never_markup(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "acme_corp", _HOSTILE)
    await conn.execute("SELECT bf_shared.suspend_tenant('acme_corp', $1)", _HOSTILE[:36])
    await conn.execute(
        "INSERT INTO bf_control.audit (actor, action, target, outcome, after) "
        "VALUES ($1, $1, $1, 'succeeded', jsonb_build_object('said', $1::text))",
        _HOSTILE,
    )
    keys = [await idle_api.key(role) for role in (Role.ADMIN, Role.AUDITOR)]
    pages: list[httpx.Response] = []
    async with visiting(idle_api.app) as visitor:
        await visitor.sign_in(keys[0])
        for path in ("/ui/fleet", "/ui/tenants", "/ui/tenants/acme_corp", "/ui/tenants/acme_corp/history"):
            pages.append(await visitor.get(path))
        pages.append(await visitor.get(f"/ui/operations?tenant_id={'%3Cscript%3E'}"))
        form = await visitor.get("/ui/tenants/new")
        pages.append(await visitor.send(form, "/ui/tenants", tenant_id=_HOSTILE, tenant_name=_HOSTILE))
        pages.append(await visitor.get("/ui/tenants/%3Cscript%3Ealert(1)%3C%2Fscript%3E"))
    async with visiting(idle_api.app) as visitor:
        await visitor.sign_in(keys[1])
        pages.append(await visitor.get("/ui/audit"))
        assert _HOSTILE in text(pages[-1])
    for page in pages:
        assert "<script>alert" not in page.text, page.url
        assert "<img src=x" not in page.text, page.url
        assert "onerror=alert(2)>&" not in page.text, page.url
        assert " style=" not in page.text, page.url
        assert "<style" not in page.text, page.url
        assert "49" not in page.text.partition("{{7*7}}")[0][-5:], page.url


async def test_a_version_of_the_configuration_can_be_gone_back_to(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await idle_api.client.patch("/v1/tenants/acme_corp/config", json={"default_currency": "EUR"})
    async with visiting(idle_api.app) as visitor:
        await visitor.sign_in(await idle_api.key(Role.OPERATOR))
        page = await visitor.get("/ui/tenants/acme_corp/history")
        assert "/default_currency" in text(page)
        done = await visitor.send(page, "/ui/tenants/acme_corp/rollback", reason="too early")
        assert "The configuration is what it was" in text(done)
    assert (await idle_api.client.get("/v1/tenants/acme_corp/config")).json()["default_currency"] == "USD"


async def test_a_tenant_is_verified_and_repaired(api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await conn.execute("DROP INDEX bf_acme_corp.idx_acme_corp_budgets_status")
    async with visiting(api.app) as visitor:
        await visitor.sign_in(await api.key(Role.OPERATOR))
        page = await visitor.send(await visitor.get("/ui/tenants/acme_corp"), "/ui/tenants/acme_corp/verify")
        assert "Missing" in text(page)
        assert "budgets_status" in text(page)
        led = await visitor.send(page, "/ui/tenants/acme_corp/repair")
        assert "tenant.repair" in text(led)


async def test_an_operation_is_cancelled_and_retried(idle_api: Api) -> None:
    await idle_api.provision()
    async with visiting(idle_api.app) as visitor:
        await visitor.sign_in(await idle_api.key(Role.OPERATOR))
        listed = await visitor.get("/ui/operations?status=queued")
        place = next(
            part.partition('"')[0] for part in listed.text.split('href="')[1:] if part.startswith("/ui/operations/")
        )
        page = await visitor.get(place)
        assert "waits for a worker" in text(page)
        page = await visitor.send(page, f"{place}/cancel")
        assert "cancelled" in text(page)
        again = await visitor.send(page, f"{place}/retry")
        assert again.url.path != place
        assert "Repeats" in text(again)


async def test_a_refusal_names_the_way_out(idle_api: Api, subtests: pytest.Subtests) -> None:
    async with visiting(idle_api.app) as visitor:
        await visitor.sign_in(await idle_api.key(Role.VIEWER))
        for path, status, said in (
            ("/ui/tenants/new", 403, "needs the role operator"),
            ("/ui/tenants/nobody", 404, "There is no such tenant"),
            ("/ui/operations/nonsense", 404, "There is no such operation"),
            ("/ui/nothing", 404, "There is nothing at this path"),
            ("/ui/audit", 403, "needs the role auditor"),
        ):
            with subtests.test(path):
                page = await visitor.get(path)
                assert page.status_code == status
                assert page.headers["Content-Type"] == "text/html; charset=utf-8"
                assert said in text(page)
                assert "To the start" in text(page)
                assert page.headers["X-Request-ID"] in text(page)
        document = await visitor.client.get("/ui/tenants/nobody", headers={"Accept": "application/json"})
        assert document.headers["Content-Type"] == "application/problem+json"
        assert (await visitor.client.head("/ui/tenants/nobody")).status_code == 404


async def test_the_fleet_is_what_the_collectors_saw_while_that_is_new(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    seen = """
    INSERT INTO bf_control.fleet_snapshot (taken_at, database_bytes, transaction_age, multixact_age, freeze_max_age,
        connections, max_connections, locks_used, locks_limit, lock_waits, catalogue, standbys, tenants)
    VALUES (now() - $1::interval, 1, 1, 1, 1, 1, 1, 1, 1, '[]', '[]', '[]',
            '[{"state": "active", "schema_version": 1, "subscription_tier": "basic", "tenants": %d}]')
    """
    async with visiting(idle_api.app) as visitor:
        await conn.execute(seen % 77_777, timedelta(minutes=6))
        page = await visitor.sign_in(await idle_api.key(Role.VIEWER))
        assert "Tenants 1 " in text(page), "collectors that stopped are not believed"
        await conn.execute(seen % 777, timedelta(seconds=50))
        assert "Tenants 1 " in text(await visitor.get("/ui/fleet")), "as of now, where there are so few"
        await conn.execute(seen % 77_777, timedelta(seconds=40))
        page = await visitor.get("/ui/fleet")
        assert "Tenants 77 777" in text(page)
        assert "As of 40 seconds ago" in text(page).replace("41", "40").replace("42", "40")
        assert "Workers No worker is heard of" in text(page), "as /health says it"
        assert page.text.index("No worker is heard of") < page.text.index("by-state"), (
            "what needs attention comes first"
        )
