"""Strong entity tags (RFC 9110): If-None-Match answers 304, If-Match guards a change against a lost update."""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Header, Response
from pydantic import BaseModel

from app.errors import BadRequest, PreconditionFailed, PreconditionRequired

_TAG: Final = re.compile(r'(W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_LIST: Final = re.compile(rf"\s*(?:{_TAG.pattern}\s*(?:,\s*|$))+")


class InvalidEntityTag(BadRequest):
    code = "invalid_entity_tag"
    title = "Not an entity tag"


class Changed(PreconditionFailed):
    code = "precondition_failed"
    title = "It has changed since it was read"


class NotSaid(PreconditionRequired):
    title = "What it replaces must be said"


class Missing(PreconditionFailed):
    code = "precondition_failed"
    title = "There is nothing that could match"


class Exists(PreconditionFailed):
    code = "precondition_failed"
    title = "It exists already"


def body_of(document: BaseModel) -> bytes:
    """The representation whose tag is told: the same bytes, the same tag."""
    return document.model_dump_json().encode()


def tag_of(body: bytes) -> str:
    """Opaque, and another one for every other representation."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()[:16]).decode().rstrip("=")
    return f'"{digest}"'


@dataclass(frozen=True, slots=True)
class Tags:
    """The value of If-Match or If-None-Match; `anything` is `*`."""

    given: frozenset[str]
    anything: bool = False

    def match_strongly(self, *tags: str) -> bool:
        """A weak tag matches nothing."""
        return self.anything or not self.given.isdisjoint(tags)

    def match_weakly(self, tag: str) -> bool:
        return self.anything or tag in {given.removeprefix("W/") for given in self.given}


def _parse(header: str, values: list[str] | None) -> Tags | None:
    """Raises InvalidEntityTag for what is neither `*` nor a list of quoted tags."""
    if values is None:
        return None
    text = ",".join(values).strip()
    if text == "*":
        return Tags(frozenset(), anything=True)
    if _LIST.fullmatch(text) is None:
        raise InvalidEntityTag(f'{header} takes "quoted" entity tags as they came in an ETag header, or *.')
    return Tags(frozenset(match[0] for match in _TAG.finditer(text)))


async def if_match(
    if_match: Annotated[
        list[str] | None, Header(description="Change it only while it has this ETag; 412 if it has another")
    ] = None,
) -> Tags | None:
    return _parse("If-Match", if_match)


async def required_if_match(
    if_match: Annotated[
        list[str] | None, Header(description="The ETag of what is replaced; 412 if it has another, 428 without")
    ] = None,
) -> Tags:
    """Of a PUT that replaces a whole document. Raises NotSaid."""
    tags = _parse("If-Match", if_match)
    if tags is None:
        raise NotSaid("Send If-Match with the ETag of what is to be replaced; * replaces whatever there is.")
    return tags


async def if_none_match(
    if_none_match: Annotated[list[str] | None, Header(description="Answer 304 while it has this ETag")] = None,
) -> Tags | None:
    return _parse("If-None-Match", if_none_match)


async def must_be_new(
    if_none_match: Annotated[list[str] | None, Header(description="`*`: 412 where it exists already")] = None,
) -> bool:
    """Of a PUT that creates. Raises InvalidEntityTag for anything but `*`: there is no older document to compare."""
    tags = _parse("If-None-Match", if_none_match)
    if tags is not None and not tags.anything:
        raise InvalidEntityTag("Here, If-None-Match takes * alone.")
    return tags is not None


IfMatch = Annotated[Tags | None, Depends(if_match)]
RequiredIfMatch = Annotated[Tags, Depends(required_if_match)]
IfNoneMatch = Annotated[Tags | None, Depends(if_none_match)]
MustBeNew = Annotated[bool, Depends(must_be_new)]


def require_match(tags: Tags | None, *current: str) -> None:
    """Raises Changed unless one of the `current` tags is among those the client has."""
    if tags is not None and not tags.match_strongly(*current):
        raise Changed("Read it again and repeat the change on what it says now.")


def answer(document: BaseModel, tags: Tags | None, *, headers: Mapping[str, str] | None = None) -> Response:
    """The document with its ETag, or 304 where the client has it."""
    body = body_of(document)
    tag = tag_of(body)
    known = {**(headers or {}), "ETag": tag, "Cache-Control": "private, no-cache"}
    if tags is not None and tags.match_weakly(tag):
        return Response(status_code=304, headers=known)
    return Response(body, media_type="application/json", headers=known)
