"""How deep a body may be nested: what walks through a document calls itself for each level."""

import json
import re
from typing import Final

from fastapi import Request

from app.errors import BadRequest

MAX_DEPTH: Final = 64
# One that does not end is one string too: else each quote in it would be tried anew.
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_ALIKE: Final = bytes.maketrans(b"{}", b"[]")
_OTHERS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")


class TooDeep(BadRequest):
    code = "json_too_deep"
    title = "The body is nested too deep"


class NotUtf8(BadRequest):
    code = "malformed_json"
    title = "Malformed JSON"


def too_deep() -> TooDeep:
    return TooDeep(f"A body is nested {MAX_DEPTH} levels deep at most.")


async def refuse_deep_json(request: Request) -> None:
    """Raises TooDeep; and NotUtf8 for the encodings that Python's parser would take beside it."""
    body = await request.body()
    if not body:
        return
    if not json.detect_encoding(body).startswith("utf-8"):
        raise NotUtf8("The body is not valid JSON: it must be UTF-8.")
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _deeper(body):
        raise too_deep()


def _deeper(body: bytes) -> bool:
    """Whether more than MAX_DEPTH brackets are open at once: each turn takes the innermost pairs away.

    Of what does not pair it says no: that is no JSON.
    """
    nested = _STRING.sub(b"", body).translate(_ALIKE, _OTHERS)
    for _ in range(MAX_DEPTH):
        nested = nested.replace(b"[]", b"")
        if not nested:
            return False
    return b"[]" in nested
