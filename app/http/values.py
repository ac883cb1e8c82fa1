"""Values on the wire that PostgreSQL takes as they are."""

import math
from typing import Annotated

from pydantic import AfterValidator, JsonValue, StringConstraints


def printable(value: str) -> str:
    """Raises ValueError for control characters, and for nothing but blanks."""
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("must not contain control characters")
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def plain_json(value: JsonValue) -> JsonValue:
    """Not all that JSON can write is text or a number: PostgreSQL's jsonb refuses the rest."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("must not contain NUL")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("must not contain half a surrogate pair")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    if isinstance(value, list):
        for item in value:
            plain_json(item)
    if isinstance(value, dict):
        for name, item in value.items():
            plain_json(name)
            plain_json(item)
    return value


Reason = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(printable)]
JsonObject = dict[Annotated[str, AfterValidator(plain_json)], Annotated[JsonValue, AfterValidator(plain_json)]]
JsonList = list[Annotated[JsonValue, AfterValidator(plain_json)]]
# Why somebody asked for it, for whoever wants to know later.
