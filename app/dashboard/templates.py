"""Templates: HTML alone, every value escaped, and nothing that is missing left out silently."""

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app.dashboard import access, assets
from app.http.auth import Actor
from app.roles import Role

_DIRECTORY: Final = Path(__file__).parent / "templates"
_UNITS: Final = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_SIZES: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")


@cache
def environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_DIRECTORY),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"asset": assets.url, "Role": Role}
    made.filters |= {
        "moment": moment, "duration": duration, "number": number, "size": size, "json": as_json, "words": words,
    }  # fmt: skip
    return made


def render(request: Request, template: str, actor: Actor | None, *, status: int = 200, **values: Any) -> HTMLResponse:
    """`actor` is who sees it: the templates show what their role may do, and no more."""
    about = access.session_token(request)
    text = (
        environment()
        .get_template(template)
        .render(
            actor=actor,
            may=lambda role: actor is not None and actor.role.includes(Role(role)),
            path=request.url.path,
            form_field=access.FIELD,
            form_token=access.page_of(request).form_token(about) if about else "",
            version=request.app.version,
            now=datetime.now(UTC),
            **values,
        )
    )
    return HTMLResponse(text, status_code=status)


# filters -------------------------------------------------------------------------------------------


def moment(value: datetime | str | None, now: datetime | None = None) -> Markup | str:
    """How long ago, or from now; the element has the exact time."""
    if value is None:
        return "–"
    at = (datetime.fromisoformat(value) if isinstance(value, str) else value).astimezone(UTC)
    exact = at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.isoformat(timespec="seconds"), exact, relative(at, now or datetime.now(UTC))
    )


def relative(at: datetime, now: datetime) -> str:
    seconds = int(abs((now - at).total_seconds()))
    if seconds < 2:
        return "now"
    length, unit = next((length, unit) for length, unit in _UNITS if seconds >= length)
    count = seconds // length
    if unit == "day" and count > 60:
        return at.strftime("%Y-%m-%d")
    told = f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{told} ago" if at <= now else f"in {told}"


def duration(milliseconds: float | timedelta | None) -> str:
    if milliseconds is None:
        return "–"
    if isinstance(milliseconds, timedelta):
        milliseconds = milliseconds.total_seconds() * 1000
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def number(value: float | None) -> str:
    """With thin spaces, as many as it has thousands."""
    return "–" if value is None else f"{value:,}".replace(",", "\u202f")


def size(value: int | None) -> str:
    if value is None:
        return "–"
    scaled, unit = float(value), 0
    while scaled >= 1024 and unit < len(_SIZES) - 1:
        scaled, unit = scaled / 1024, unit + 1
    return f"{value} bytes" if unit == 0 else f"{scaled:.1f} {_SIZES[unit]}"


def as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def words(value: str) -> str:
    return value.replace("_", " ").replace(".", " ")
