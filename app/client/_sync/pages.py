"""Lists, page by page."""

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from app.client import _call
from app.client._answer import read
from app.client._sync.transport import Transport
from app.client.models import Page

T = TypeVar("T")


class Pages(Generic[T]):
    """Iterates over every item of every page, and asks for a page only when it is reached. Can be iterated again."""

    def __init__(self, transport: Transport, path: str, page: type[Page[T]], query: Mapping[str, object]) -> None:
        self._transport = transport
        self._path = path
        self._page = page
        self._query = query

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            for item in page.items:
                yield item

    def pages(self) -> Iterator[Page[T]]:
        """The pages themselves, with their tokens."""
        query = dict(self._query)
        while True:
            page = read(self._transport.send(_call.get(self._path, query)), self._page)
            yield page
            if page.next_page_token is None:
                return
            query["page_token"] = page.next_page_token
