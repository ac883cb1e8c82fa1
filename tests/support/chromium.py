"""A real browser: Debian's Chromium, driven by Playwright, with a profile of its own that nobody has used."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

# What it would otherwise do by itself; and what it cannot do as root, or where there is no graphics card.
_ARGUMENTS: Final = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--font-render-hinting=none",
)  # fmt: skip
_AXE: Final = Path(__file__).parents[1] / "browser" / "vendor" / "axe.min.js"
# axe-core's words for what is worse than "moderate".
_WORST: Final = ("serious", "critical")


@asynccontextmanager
async def running() -> AsyncIterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        raise RuntimeError(
            "Chromium is missing, and these tests are of what it shows: "
            "apt-get install --no-install-recommends chromium"
        )
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS), timeout=120_000)
        try:
            yield browser
        finally:
            await browser.close()


def artefacts() -> Path | None:
    """Where pictures are to be left: BF_TEST_ARTEFACTS names it."""
    named = os.environ.get("BF_TEST_ARTEFACTS")
    if not named:
        return None
    directory = Path(named)
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@asynccontextmanager
async def window(
    browser: Browser, url: str, *, width: int = 1280, height: int = 900, scheme: str = "light", javascript: bool = True
) -> AsyncIterator[Page]:
    """A window whose console must stay silent: what a policy stopped is told there, and what a script failed at."""
    wanted: Any = {"color_scheme": scheme, "java_script_enabled": javascript}
    context: BrowserContext = await browser.new_context(
        base_url=url, viewport={"width": width, "height": height}, reduced_motion="reduce", **wanted
    )
    page = await context.new_page()
    page.set_default_timeout(60_000)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    try:
        yield page
    finally:
        await context.close()
    # A page that says what is not there is an answer like any other.
    said = [text for text in said if "status of 404" not in text]
    assert not said, said


async def violations(page: Page) -> list[str]:
    """What axe-core finds that is serious, with the elements it is about. Evaluated: the policy lets no script in."""
    if not await page.evaluate("typeof axe === 'object'"):
        await page.evaluate(_AXE.read_text())
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for one in found["violations"]
        if one["impact"] in _WORST
        for node in one["nodes"]
    ]


async def overflow(page: Page) -> int:
    """Pixels by which the page is wider than the window."""
    wider: int = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wider
