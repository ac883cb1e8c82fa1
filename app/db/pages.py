"""Keyset pages: a row more than a page has is read, which says that there is another page."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Row = TypeVar("Row")
Position = TypeVar("Position")


def cut(found: Sequence[Row], size: int, position: Callable[[Row], Position]) -> tuple[list[Row], Position | None]:
    """The page, and where the next one starts: after the `position` of its last row; None with the last page.

    `found` was read with a limit of `size` + 1.
    """
    page = list(found[:size])
    return page, position(page[-1]) if len(found) > size else None
