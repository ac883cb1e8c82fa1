"""Prefer: wait=N (RFC 7240)."""

import re
from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import Depends, Header

MAX_WAIT: Final = 30
_WAIT: Final = re.compile(r'wait\s*=\s*(?:([0-9]{1,9})|"([0-9]{1,9})")', re.I)
# A comma in a quoted string ends no preference.
_PREFERENCE: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')


async def wait_seconds(
    prefer: Annotated[
        list[str] | None,
        Header(description="`wait=N`: answer when the work is done, after N seconds (at most 30) at the latest"),
    ] = None,
) -> int | None:
    """Seconds to wait; None where the client has no such preference. Others are ignored, as the RFC says."""
    return preferred_wait(prefer or [])


def preferred_wait(headers: Sequence[str]) -> int | None:
    """Of the values of all Prefer headers."""
    for preference in _PREFERENCE.findall(",".join(headers)):
        match = _WAIT.fullmatch(preference.partition(";")[0].strip())
        if match is not None:
            return min(int(match[1] or match[2]), MAX_WAIT)
    return None


WaitSeconds = Annotated[int | None, Depends(wait_seconds)]
