"""What a process has made, as its routes ask for it.

Every dependency is `async def`, waiting for nothing or not: FastAPI would run any other in a thread.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Request

from app.apikeys.cache import KeyCache
from app.apikeys.service import Keys
from app.db.pool import Database
from app.db.readiness import Readiness
from app.http.denials import DenialSink
from app.http.pagination import PageTokens
from app.tokens.verifier import Verifier

PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}},
    }
    for status, description in {
        400: "The request cannot be read",
        401: "No valid API key or access token",
        403: "The caller's role does not allow this",
        404: "There is no such thing",
        408: "The body did not arrive in time",
        409: "The state of things does not allow this",
        412: "It is not as If-Match or If-None-Match asks",
        413: "The body is over 1 MiB",
        415: "The body is of a type that is not read here",
        422: "The request is not valid",
        428: "This change needs If-Match",
        429: "Too many requests; see Retry-After and RateLimit",
        431: "The header is too large",
        500: "A bug: the answer says nothing but the request id, under which the log has the rest",
        503: "No database connection is to be had, or it is not ready; see Retry-After",
    }.items()
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented failures of a route: those named, and those every route has."""
    of_bodies = {408, 415} if 413 in statuses else set()
    return {status: PROBLEMS[status] for status in sorted({401, 403, 429, 431, 500, 503, *statuses, *of_bodies})}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpServices:
    """What this layer needs. Composition roots add to it by inheriting."""

    database: Database
    keys: Keys
    known_keys: KeyCache
    access_tokens: Verifier | None
    page_tokens: PageTokens
    readiness: Readiness
    denials: DenialSink


async def _database(request: Request) -> Database:
    database: Database = request.app.state.services.database
    return database


async def _page_tokens(request: Request) -> PageTokens:
    tokens: PageTokens = request.app.state.services.page_tokens
    return tokens


Db = Annotated[Database, Depends(_database)]
Tokens = Annotated[PageTokens, Depends(_page_tokens)]
