"""Styles and scripts, each under a name that has its hash: a browser keeps it for ever, and never keeps an old one."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from app.errors import NotFound
from app.http.auth import Public

router = APIRouter(include_in_schema=False)
_DIRECTORY: Final = Path(__file__).parent / "static"
_FILES: Final = {
    "app.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "vendor/htmx.min.js": "text/javascript; charset=utf-8",
    "vendor/uPlot.iife.min.js": "text/javascript; charset=utf-8",
    "vendor/uPlot.min.css": "text/css; charset=utf-8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    url: str
    media_type: str
    content: bytes


@cache
def every() -> dict[str, Asset]:
    """By the file's name, as templates ask for it; read once."""
    return {name: _read(name, media_type) for name, media_type in _FILES.items()}


def _read(name: str, media_type: str) -> Asset:
    content = (_DIRECTORY / name).read_bytes()
    stem, _, suffix = name.rpartition("/")[2].rpartition(".")
    digest = hashlib.sha256(content).hexdigest()[:12]
    return Asset(url=f"/ui/static/{stem}.{digest}.{suffix}", media_type=media_type, content=content)


def url(name: str) -> str:
    return every()[name].url


@cache
def _by_url() -> dict[str, Asset]:
    return {asset.url: asset for asset in every().values()}


@router.get("/ui/static/{asset}", dependencies=[Public])
async def get_asset(asset: str) -> Response:
    """Raises NotFound for a name of another release: a page of that one asks again, once it is loaded anew."""
    found = _by_url().get(f"/ui/static/{asset}")
    if found is None:
        raise NotFound("There is no such file in this release.")
    return Response(
        found.content, media_type=found.media_type, headers={"Cache-Control": "public, max-age=31536000, immutable"}
    )
