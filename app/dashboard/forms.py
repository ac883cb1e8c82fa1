"""What a form sends."""

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl

from fastapi import Request

from app.errors import BadRequest, Invalid, UnsupportedMediaType

_MEDIA_TYPE: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 200
# Of a field that may be there several times.
SEPARATOR: Final = "\n"


class MalformedForm(BadRequest):
    code = "malformed_form"
    title = "The form cannot be read"


async def read(request: Request) -> Mapping[str, str]:
    """The fields, of a body that was counted already. One that comes several times is one, line by line.

    Raises UnsupportedMediaType, MalformedForm.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if given != _MEDIA_TYPE:
        raise UnsupportedMediaType(f"Send the form as {_MEDIA_TYPE}.")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise MalformedForm("Its fields are not UTF-8, or there are too many.") from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields[name] = f"{fields[name]}{SEPARATOR}{value}" if name in fields else value
    return fields


def require_known(fields: Mapping[str, str], known: Iterable[str]) -> None:
    """Raises Invalid: what would be ignored must not look as if it were not."""
    if unknown := sorted(fields.keys() - set(known)):
        raise Invalid(f"The form has no field {unknown[0][:60]}.")
