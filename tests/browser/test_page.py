"""The operator's page in a real browser: what people see, with which keys they get about, and who else can read it.

BF_TEST_ARTEFACTS=DIRECTORY keeps a picture of every view there.
"""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from playwright.async_api import Browser, Page, expect

from tests.support import chromium
from tests.support.api import running_api
from tests.support.chromium import artefacts, overflow, violations, window
from tests.support.cluster import Cluster
from tests.support.data import make_tenant, settings_for, suspend
from tests.support.listening import listening
from tests.support.polling import ended

pytestmark = pytest.mark.any_postgres

_VIEWS = {
    "login": "/",
    "fleet": "/ui/fleet",
    "tenants": "/ui/tenants",
    "tenant": "/ui/tenants/acme_corp",
    "new-tenant": "/ui/tenants/new",
    "history": "/ui/tenants/acme_corp/history",
    "operations": "/ui/operations",
    "operation": "",
    "problem": "/ui/tenants/nobody",
}
# Ninety days of growth, with a bend in it.
_GROWTH = """
INSERT INTO bf_control.size_history (tenant_id, taken_at, grain, total_bytes, live_rows, dead_rows, tables)
SELECT 'acme_corp', now() - n * interval '1 day', 'day', 9000000 + (90 - n) * 180000 + (90 - n) * (90 - n) * 9000,
       40000 + (90 - n) * 700, 300, '{"budgets": [4000000, 30000]}'
  FROM generate_series(0, 90) AS n
"""


_FAIL = "UPDATE bf_control.tenant SET state = 'failed', schema_version = NULL, error = $1 WHERE tenant_id = 'firm_5'"
_PROBLEM = """{
    "type": "about:blank", "title": "The catalogue does not show what was to be built", "status": 500,
    "code": "catalogue_mismatch",
    "detail": "Schema bf_firm_5 is not as expected: missing: index idx_firm_5_budgets_status."
}"""


@dataclass(frozen=True, slots=True)
class Site:
    """A server with tenants, in whose database things are seen to happen."""

    url: str
    admin: str
    auditor: str
    operation: str
    browser: Browser
    conn: asyncpg.Connection

    async def sign_in(self, page: Page, key: str = "") -> None:
        await page.goto("/")
        await page.get_by_label("API key").fill(key or self.admin)
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="Sign out").wait_for()


@pytest.fixture(scope="module")
async def site(cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    name = f"page_{secrets.token_hex(4)}"
    dsn = await cluster.create_database(name, template=template)
    conn = await asyncpg.connect(dsn)
    directory: Path = tmp_path_factory.mktemp("page")
    try:
        settings = settings_for(dsn, bootstrap_admin_key_file=directory / "admin-key")
        async with running_api(settings, with_worker=True) as api, listening(api) as url, chromium.running() as browser:
            client = api.client
            body = {"tenant_id": "acme_corp", "tenant_name": "ACME Corporation", "subscription_tier": "premium"}
            made = await client.post("/v1/tenants", json=body)
            await ended(client, made.headers["Operation-Location"], within=120)
            for number, called in enumerate(("Bergmann & Söhne", "Contoso", "Дельта", "Ėlan", "Fabrikam"), 1):
                await make_tenant(conn, f"firm_{number}", called)
            await suspend(conn, "firm_2")
            await client.patch("/v1/tenants/acme_corp/config", json={"default_currency": "EUR", "audit_level": "full"})
            await client.patch("/v1/tenants/acme_corp/limits", json={"max_budgets": 40})
            await conn.execute(_GROWTH)
            await conn.execute(_FAIL, _PROBLEM)
            keys = [
                (await client.post("/v1/api-keys", json={"name": named, "role": role})).json()["key"]
                for named, role in (("Anna Admin", "admin"), ("Otto Auditor", "auditor"))
            ]
            operation = made.headers["Operation-Location"].rpartition("/")[2]
            yield Site(url, *keys, operation, browser, conn)
    finally:
        await conn.close()
        await cluster.drop_database(name)


def _path(site: Site, name: str) -> str:
    return _VIEWS[name] or f"/ui/operations/{site.operation}"


async def _keep(page: Page, name: str) -> None:
    directory = artefacts()
    if directory is not None:
        await page.screenshot(path=directory / f"{name}.png", full_page=True)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360)])
async def test_every_view_can_be_read_by_everybody_at_any_width(
    site: Site, scheme: str, width: int, subtests: pytest.Subtests
) -> None:
    async with window(site.browser, site.url, width=width, scheme=scheme) as page:
        for name in _VIEWS:
            with subtests.test(name):
                if name == "fleet":
                    await site.sign_in(page)
                await page.goto(_path(site, name))
                if name == "tenant":
                    await page.locator("#chart canvas").wait_for()
                assert await violations(page) == []
                assert await overflow(page) == 0
                await _keep(page, f"{name}-{scheme}-{width}")
    async with window(site.browser, site.url, width=width, scheme=scheme) as page:
        await site.sign_in(page, site.auditor)
        assert await violations(page) == []
        assert await overflow(page) == 0
        await _keep(page, f"audit-{scheme}-{width}")


async def test_a_tenant_is_created_by_keyboard_alone_and_its_steps_are_seen(site: Site) -> None:
    async with window(site.browser, site.url) as page:
        await site.sign_in(page)
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.goto("/ui/tenants")
        await page.get_by_role("link", name="New tenant").focus()
        await page.keyboard.press("Enter")
        await page.get_by_label("Id", exact=True).focus()
        await page.keyboard.type("zeta")
        await page.keyboard.press("Tab")
        await page.keyboard.type("Zeta & Daughters")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("succeeded", timeout=60_000)
        await expect(page.locator(".steps li")).to_have_count(2)
        await expect(page.locator(".steps")).to_contain_text("setup tenant")
        await _keep(page, "created")
        await page.get_by_role("link", name="Tenant zeta").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Zeta & Daughters")


async def test_a_list_that_follows_what_is_typed_keeps_the_focus_and_says_what_it_found(site: Site) -> None:
    async with window(site.browser, site.url) as page:
        await site.sign_in(page)
        await page.goto("/ui/tenants")
        search = page.get_by_role("searchbox", name="Search")
        await search.focus()
        await page.keyboard.type("Söhne", delay=20)
        await expect(page.locator("#results tbody tr")).to_have_count(1)
        await expect(search).to_be_focused()
        await expect(page.locator("#announce")).to_have_text("1 tenants")
        assert "q=S%C3%B6hne" in page.url
        await page.reload()
        await expect(search).to_have_value("Söhne")


async def test_a_page_that_asks_by_the_clock_keeps_the_focus_where_it_was(site: Site) -> None:
    async with window(site.browser, site.url) as page:
        await site.sign_in(page)
        link = page.locator("#state-suspended")
        await link.focus()
        asked = page.expect_response(lambda answer: answer.request.headers.get("hx-request") == "true")
        async with asked:
            pass
        await expect(link).to_be_focused()


async def test_a_session_that_has_ended_leads_to_signing_in_by_itself(site: Site) -> None:
    async with window(site.browser, site.url) as page:
        await site.sign_in(page)
        await site.conn.execute("DELETE FROM bf_control.page_session")
        await page.get_by_role("link", name="Tenants", exact=True).click()
        await page.get_by_label("API key").wait_for()
        assert page.url.endswith("?next=/ui/tenants")


async def test_everything_there_is_to_do_is_done_without_javascript(site: Site) -> None:
    async with window(site.browser, site.url, javascript=False) as page:
        await site.sign_in(page)
        await page.get_by_role("link", name="Tenants", exact=True).click()
        await page.get_by_label("State").select_option("active")
        await page.get_by_role("button", name="Apply").click()
        await page.get_by_role("link", name="firm_3").click()
        await page.locator("#to-suspend").click()
        await page.get_by_label("Reason").first.fill("a trial")
        await page.get_by_role("button", name="Suspend", exact=True).click()
        await expect(page.get_by_text("The tenant is suspended.")).to_be_visible()
        await page.goto("/ui/tenants/acme_corp")
        await page.get_by_text("Samples").click()
        await expect(page.locator("#growth-data tbody tr")).to_have_count(91)
        await _keep(page, "tenant-without-javascript")
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_label("API key").wait_for()


async def test_what_is_injected_all_the_same_does_not_run_and_what_nobody_can_read_is_found(site: Site) -> None:
    script = "document.body.append(Object.assign(document.createElement('script'), {text: 'x = 1'}))"

    async def inject() -> None:
        async with window(site.browser, site.url) as page:
            await page.goto("/")
            await page.evaluate(script)
            assert await page.evaluate("typeof x") == "undefined"
            await page.evaluate("document.body.append(document.createElement('input'))")
            assert "label" in str(await violations(page))

    with pytest.raises(AssertionError, match="Content Security Policy"):  # the browser says so
        await inject()
