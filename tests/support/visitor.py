"""A browser without JavaScript: it keeps cookies, follows what it is told, and sends forms as they stand in a page."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser

import httpx
from fastapi import FastAPI


@dataclass(slots=True)
class Form:
    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


class _Forms(HTMLParser):
    """The forms of a page, with what their fields hold; and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.text = ""
        self._form: Form | None = None
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = Form(action=given.get("action", ""), method=given.get("method", "get"))
            self.forms.append(self._form)
        if self._form is None:
            return
        if tag == "select":
            self._select = given.get("name", "")
        unchecked = given.get("type") == "checkbox" and "checked" not in given
        if tag == "input" and given.get("name") and not unchecked:
            self._form.fields[given["name"]] = given.get("value", "")
        if tag == "option" and self._select and ("selected" in given or self._select not in self._form.fields):
            self._form.fields[self._select] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        if tag == "select":
            self._select = ""

    def handle_data(self, data: str) -> None:
        self.text += data


def forms(page: httpx.Response) -> dict[str, Form]:
    """By action."""
    parser = _Forms()
    parser.feed(page.text)
    return {form.action: form for form in parser.forms}


def text(page: httpx.Response) -> str:
    parser = _Forms()
    parser.feed(page.text)
    return " ".join(parser.text.split())


class Visitor:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Where it was led in the end."""
        return await self.client.get(path, headers=headers, follow_redirects=True)

    async def send(self, page: httpx.Response, action: str, *, follow: bool = True, **fields: str) -> httpx.Response:
        """The page's form for that action, with these fields filled in."""
        form = forms(page)[action]
        assert form.method == "post"
        data = {**form.fields, **fields}
        headers = {"Referer": str(page.url), "Sec-Fetch-Site": "same-origin"}
        return await self.client.post(action, data=data, headers=headers, follow_redirects=follow)

    async def sign_in(self, key: str, path: str = "/") -> httpx.Response:
        return await self.send(await self.get(path), "/ui/login", key=key)


@asynccontextmanager
async def visiting(app: FastAPI, *, base_url: str = "http://test") -> AsyncIterator[Visitor]:
    headers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=base_url, headers=headers) as client:
        yield Visitor(client)
