"""Lists, page by page."""

from collections.abc import AsyncIterator, Mapping
from typing import Generic, TypeVar

from app.client import _call
from app.client._answer import read
from app.client._async.transport import Transport
from app.client.models import Page

T = TypeVar("T")


class Pages(Generic[T]):
    """Iterates over every item of every page, and asks for a page only when it is reached. Can be iterated again."""

    def __init__(self, transport: Transport, path: str, page: type[Page[T]], query: Mapping[str, object]) -> None:
        self._transport = transport
        self._path = path
        self._page = page
        self._query = query

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.items:
                yield item

    async def pages(self) -> AsyncIterator[Page[T]]:
        """The pages themselves, with their tokens."""
        query = dict(self._query)
        while True:
            page = read(await self._transport.send(_call.get(self._path, query)), self._page)
            yield page
            if page.next_page_token is None:
                return
            query["page_token"] = page.next_page_token
