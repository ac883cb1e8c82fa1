"""Who gets in, for how long, and what another site can make of it: nothing."""

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from app.dashboard.access import FIELD, local
from app.dashboard.edge import POLICY
from app.http.auth import api_routes
from tests.support.api import Api, running_api
from tests.support.data import make_tenant, settings_for
from tests.support.issuer import PAGE, Issuer, issuing
from tests.support.polling import until
from tests.support.visitor import Visitor, forms, text, visiting


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


def _cookies(response: httpx.Response) -> dict[str, str]:
    """Attributes by name."""
    return {line.partition("=")[0]: line for line in response.headers.get_list("set-cookie")}


async def test_a_key_signs_in_and_signing_out_ends_the_session_everywhere(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    async with visiting(idle_api.app) as visitor:
        front = await visitor.get("/")
        assert "Ready" in text(front)
        led = await visitor.send(front, "/ui/login", follow=False, key=f" {await idle_api.key(Role.VIEWER)} ")
        assert (led.status_code, led.headers["Location"]) == (303, "/ui/fleet")
        cookie = _cookies(led)["bf_session"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "Secure" not in cookie, "http://test is no https"
        token = visitor.client.cookies["bf_session"]
        stored = await conn.fetchval("SELECT string_agg(s::text, ' ') FROM bf_control.page_session s")
        assert token not in stored
        page = await visitor.get("/")
        assert page.url.path == "/ui/fleet", "the front page leads those in who are known"
        out = await visitor.send(page, "/ui/logout")
        assert out.url.path == "/"
        visitor.client.cookies.set("bf_session", token)
        assert (await visitor.get("/ui/fleet")).url.path == "/", "what was copied of it is worth nothing"
    actions = await conn.fetch("SELECT action, role FROM bf_control.audit WHERE action LIKE 'session.%' ORDER BY id")
    assert [(r["action"], r["role"]) for r in actions] == [("session.begin", "viewer"), ("session.end", "viewer")]


async def test_a_stranger_is_led_to_where_they_wanted_to_go_once_they_are_known(idle_api: Api) -> None:
    key = await idle_api.key(Role.VIEWER)
    async with visiting(idle_api.app) as visitor:
        asked = await visitor.get("/ui/tenants?state=failed&order_by=name")
        assert asked.url.path == "/"
        assert (
            await visitor.send(asked, "/ui/login", key=key)
        ).url.raw_path == b"/ui/tenants?state=failed&order_by=name"
    elsewhere = [
        "https://evil.example", "//evil.example", "/\\evil.example", "/ui/../v1/tenants", "/ui//evil.example",
        "javascript:alert(1)", "/v1/tenants", "/ui/x\r\nSet-Cookie: a=b", "/ui/%0d%0aSet-Cookie:%20a=b/..", "/uix",
    ]  # fmt: skip
    for place in elsewhere:
        assert local(place) is None, place
        async with visiting(idle_api.app) as visitor:
            front = await visitor.client.get("/", params={"next": place})
            fields = {**forms(front)["/ui/login"].fields, "key": key, "next": place}
            led = await visitor.client.post("/ui/login", data=fields)
            assert led.headers["Location"] == "/ui/fleet", place


async def test_what_is_no_key_is_told_no_more_than_that(idle_api: Api, conn: asyncpg.Connection) -> None:
    good = await idle_api.key(Role.VIEWER)
    async with visiting(idle_api.app) as visitor:
        said = set()
        for key in ("", "x", good[:-1], f"bfk_{'0' * 16}.{'A' * 43}", "x" * 5000, "\0", "ключ"):
            page = await visitor.send(await visitor.get("/"), "/ui/login", key=key)
            assert page.status_code == 401
            assert key not in page.text or len(key) < 2
            said.add(text(page))
        assert len(said) == 1
        assert "bf_session" not in visitor.client.cookies
        for role in (Role.READER, Role.METRICS):
            page = await visitor.send(await visitor.get("/"), "/ui/login", key=await idle_api.key(role))
            assert page.status_code == 403
            assert "has no page" in text(page)
    assert await conn.fetchval("SELECT count(*) FROM bf_control.page_session") == 0

    async def told() -> bool:
        return bool(await conn.fetchval("SELECT count(*) FROM bf_control.audit WHERE outcome = 'denied'"))

    await until(told, what="what was refused in the audit trail")


async def test_a_session_is_a_new_one_whatever_the_browser_brought(idle_api: Api) -> None:
    planted = secrets.token_urlsafe(32)
    async with visiting(idle_api.app) as visitor:
        visitor.client.cookies.set("bf_session", planted)
        await visitor.sign_in(await idle_api.key(Role.VIEWER))
        values = {cookie.value for cookie in visitor.client.cookies.jar if cookie.name == "bf_session"}
        assert values - {planted}
    async with visiting(idle_api.app) as other:
        other.client.cookies.set("bf_session", planted)
        assert (await other.get("/ui/fleet")).url.path == "/"


async def test_a_session_ends_with_its_key_with_time_and_with_idleness(
    idle_api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    ends = {
        "revoked": "UPDATE bf_control.api_key SET revoked_at = now() WHERE name = 'test viewer'",
        "expired": "UPDATE bf_control.api_key SET expires_at = now() WHERE name = 'test viewer'",
        "gone": "DELETE FROM bf_control.api_key WHERE name = 'test viewer'",
        "too old": "UPDATE bf_control.page_session SET expires_at = now()",
        "unused": "UPDATE bf_control.page_session SET used_at = now() - interval '31 minutes'",
    }
    for why, end in ends.items():
        with subtests.test(why):
            async with visiting(idle_api.app) as visitor:
                await visitor.sign_in(await idle_api.key(Role.VIEWER))
                assert (await visitor.get("/ui/fleet")).url.path == "/ui/fleet"
                await conn.execute(end)
                assert (await visitor.get("/ui/fleet")).url.path == "/"
                asked = await visitor.client.get("/ui/fleet", headers={"HX-Request": "true"})
                assert asked.status_code == 401
                assert asked.headers["HX-Redirect"].startswith("/")


async def test_a_role_that_changes_changes_at_once_and_polls_keep_no_session_alive(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    async with visiting(idle_api.app) as visitor:
        await visitor.sign_in(await idle_api.key(Role.OPERATOR))
        assert (await visitor.get("/ui/tenants/new")).status_code == 200
        await conn.execute("UPDATE bf_control.api_key SET role = 'viewer' WHERE name = 'test operator'")
        assert (await visitor.get("/ui/tenants/new")).status_code == 403
        await conn.execute("UPDATE bf_control.page_session SET used_at = now() - interval '20 minutes'")
        await visitor.client.get("/ui/fleet", headers={"HX-Request": "true", "HX-Trigger": "live"})
        idle = "SELECT now() - used_at > interval '19 minutes' FROM bf_control.page_session"
        assert await conn.fetchval(idle)
        await visitor.get("/ui/fleet")
        assert not await conn.fetchval(idle)


async def test_a_form_from_elsewhere_does_nothing(
    idle_api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    await make_tenant(conn)
    admin, other = await idle_api.key(Role.ADMIN), await idle_api.key(Role.ADMIN)
    async with visiting(idle_api.app) as visitor, visiting(idle_api.app) as attacker:
        await visitor.sign_in(admin)
        theirs = forms(await attacker.sign_in(other))["/ui/logout"].fields[FIELD]
        mine = forms(await visitor.get("/ui/fleet"))["/ui/logout"].fields[FIELD]
        paths = [
            r.path
            for r in api_routes(idle_api.app)
            if "POST" in (r.methods or ()) and (r.path or "").startswith("/ui/")
        ]
        assert len(paths) > 9
        for path in paths:
            place = (path or "").format(tenant_id="acme_corp", operation_id="0" * 32)
            tries = {
                "missing": ({"reason": "x"}, {}),
                "empty": ({FIELD: ""}, {}),
                "wrong": ({FIELD: "0" * 64}, {}),
                "somebody else's": ({FIELD: theirs}, {}),
                "from another site": ({FIELD: mine}, {"Sec-Fetch-Site": "cross-site"}),
                "from a neighbour": ({FIELD: mine}, {"Sec-Fetch-Site": "same-site"}),
            }
            for why, (data, headers) in tries.items():
                with subtests.test(f"{place} {why}"):
                    answer = await visitor.client.post(place, data=data, headers=headers)
                    assert answer.status_code == 403, answer.text
                    assert "form_refused" in answer.text
        json = {"Content-Type": "application/json"}
        other_kind = await visitor.client.post("/ui/tenants/acme_corp/suspend", content="{}", headers=json)
        assert other_kind.status_code == 415
        assert (await visitor.client.get("/ui/tenants/acme_corp/suspend")).status_code in {404, 405}
        assert (await visitor.get("/ui/fleet")).url.path == "/ui/fleet", "still signed in"
    assert await conn.fetchval("SELECT state FROM bf_control.tenant") == "active"


async def test_the_api_does_not_know_the_page_s_cookie(idle_api: Api) -> None:
    async with visiting(idle_api.app) as visitor:
        await visitor.sign_in(await idle_api.key(Role.ADMIN))
        assert (await visitor.client.get("/v1/tenants")).status_code == 401
        assert (await visitor.client.post("/v1/schema/upgrade")).status_code == 401


async def test_every_answer_of_the_page_has_its_policy_and_nothing_is_kept_but_files(
    idle_api: Api, subtests: pytest.Subtests
) -> None:
    async with visiting(idle_api.app) as visitor:
        front = await visitor.get("/")
        files = re.findall(r'(?:href|src)="(/ui/static/[^"]+)"', front.text)
        assert files
        signed = await visitor.sign_in(await idle_api.key(Role.VIEWER))
        files += re.findall(r'(?:href|src)="(/ui/static/[^"]+)"', signed.text)
        paths = ["/", "/ui/fleet", "/ui/tenants", "/ui/nothing", "/ui/tenants/new", "/ui/tenants?x=1", "/ui/login"]
        for path in [*paths, *sorted(set(files))]:
            with subtests.test(path):
                answer = await visitor.client.get(path)
                assert answer.headers["Content-Security-Policy"] == POLICY
                assert answer.headers["X-Frame-Options"] == "DENY"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                kept = "public, max-age=31536000, immutable" if path in files else "no-store"
                assert answer.headers["Cache-Control"] == kept
                assert "http://" not in re.sub(r"http://www\.w3\.org/\S+", "", answer.text) or path in files
    assert "unsafe" not in POLICY
    assert (await idle_api.client.get("/v1/tenants")).headers.get("Content-Security-Policy") is None


async def test_behind_https_cookies_are_secure_and_this_host_s_alone(idle_api: Api) -> None:
    async with visiting(idle_api.app, base_url="https://test") as visitor:
        front = await visitor.get("/")
        assert "__Host-bf_visitor" in _cookies(front)
        led = await visitor.send(front, "/ui/login", follow=False, key=await idle_api.key(Role.VIEWER))
        cookie = _cookies(led)["__Host-bf_session"]
        assert "Secure" in cookie
        assert "Path=/" in cookie
        assert "Domain" not in cookie
        assert (await visitor.get("/ui/fleet")).status_code == 200


async def test_who_guesses_is_told_to_wait(dsn: str, tmp_path: Path) -> None:
    settings = settings_for(dsn, bootstrap_admin_key_file=tmp_path / "key", login_limit="3/minute")
    async with running_api(settings, with_worker=False) as api, visiting(api.app) as visitor:
        codes = []
        for _ in range(4):
            page = await visitor.send(await visitor.get("/"), "/ui/login", key=f"bfk_{'0' * 16}.{'A' * 43}")
            codes.append(page.status_code)
        assert codes == [401, 401, 401, 429]
        assert "Too many attempts to sign in" in text(page)
        assert int(page.headers["Retry-After"]) > 0
        assert (await visitor.get("/")).status_code == 200


async def test_a_key_for_one_tenant_sees_that_tenant_and_no_other(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "own_one")
    await make_tenant(conn, "foreign")
    async with visiting(idle_api.app) as visitor:
        page = await visitor.sign_in(await idle_api.key(Role.OPERATOR, tenant_id="own_one"))
        assert page.url.path == "/ui/tenants/own_one"
        assert "/ui/fleet" not in page.text
        assert (await visitor.get("/ui/tenants")).status_code == 403
        foreign, unknown = [await visitor.get(f"/ui/tenants/{name}") for name in ("foreign", "nobody")]
        assert foreign.status_code == unknown.status_code == 404
        ids = re.compile(r"[0-9a-f-]{32}")
        assert ids.sub("", foreign.text) == ids.sub("", unknown.text)


# by the issuer -------------------------------------------------------------------------------------


async def _begin(visitor: Visitor, path: str = "/ui/login/issuer") -> str:
    """Where the issuer sends the browser back to."""
    sent = await visitor.client.get(path)
    assert sent.status_code == 303, sent.text
    async with httpx.AsyncClient(trust_env=False) as browser:
        back = await browser.get(sent.headers["Location"])
    assert back.status_code == 302, back.text
    return back.headers["Location"]


async def test_somebody_who_is_known_to_the_issuer_signs_in_there(
    dsn: str, tmp_path: Path, issuer: Issuer, conn: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    settings = settings_for(
        dsn, bootstrap_admin_key_file=tmp_path / "key", oidc_issuer=issuer.url, oidc_audience="bf-tenant-admin",
        oidc_client_id=PAGE,
    )  # fmt: skip
    async with running_api(settings, with_worker=False) as api:
        with subtests.test("signed in, with the role that the token gives"):
            async with visiting(api.app) as visitor:
                assert issuer.url in (await visitor.get("/")).text
                page = await visitor.get(await _begin(visitor, "/ui/login/issuer?next=/ui/tenants"))
                assert page.url.path == "/ui/tenants"
                assert "Anna Operator" in text(page)
                assert (await visitor.get("/ui/tenants/new")).status_code == 200
                actor = await conn.fetchval("SELECT actor FROM bf_control.audit WHERE action = 'session.begin'")
                assert actor == "oidc:anna"
                await conn.execute("UPDATE bf_control.page_session SET expires_at = now()")
                again = await visitor.client.get("/ui/tenants")
                assert again.headers["Location"] == "/ui/login/issuer?next=/ui/tenants", "with the token, and then anew"
        with subtests.test("another browser's answer"):
            async with visiting(api.app) as visitor, visiting(api.app) as other:
                theirs = await _begin(other)
                await _begin(visitor)
                refused = await visitor.get(theirs)
                assert refused.status_code == 401
                assert "not the answer to your attempt" in text(refused)
                assert (await visitor.get("/ui/fleet")).url.path == "/"
        with subtests.test("no attempt at all"):
            async with visiting(api.app) as visitor:
                assert (await visitor.get("/ui/login/callback?code=a&state=b")).status_code == 401
        with subtests.test("a code twice"):
            async with visiting(api.app) as visitor:
                back = await _begin(visitor)
                kept = [(c.name, c.value) for c in visitor.client.cookies.jar]
                await visitor.get(back)
                for name, value in kept:
                    visitor.client.cookies.set(name, value or "")
                assert (await visitor.get(back)).status_code == 401
        with subtests.test("an answer of another issuer"):
            async with visiting(api.app) as visitor:
                back = await _begin(visitor)
                assert (await visitor.get(f"{back}&iss=https://evil.example")).status_code == 401
        with subtests.test("no role"):
            issuer.person = {"sub": "bob", "roles": []}
            async with visiting(api.app) as visitor:
                refused = await visitor.get(await _begin(visitor))
                assert refused.status_code == 403
                assert "gives no role" in text(refused)
        with subtests.test("the issuer is away"):
            issuer.away = True
            async with visiting(api.app) as visitor:
                assert (await visitor.get("/ui/login/issuer")).status_code == 503
            issuer.away = False
    plain = settings_for(dsn, bootstrap_admin_key_file=tmp_path / "key")
    async with running_api(plain, with_worker=False) as api, visiting(api.app) as visitor:
        assert (await visitor.get("/ui/login/issuer")).status_code == 404
