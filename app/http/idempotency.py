"""Idempotency-Key (IETF draft 07): the first answer is stored in the transaction that earned it."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final

from fastapi import Depends, Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.db.pool import Connection, Database
from app.errors import BadRequest, Conflict, Invalid
from app.http import queries
from app.http.queries import Slot, Stored

_MAX_LENGTH: Final = 255
# The context in which a model that holds secrets writes them out: for a hash of a request, and for nothing else.
WITH_SECRETS: Final = {"secrets": "for a hash"}


class KeyInFlight(Conflict):
    code = "idempotency_key_in_flight"
    title = "The first request with this key is still running"


class KeyReused(Invalid):
    code = "idempotency_key_reused"
    title = "The key was used with another request"


class InvalidKey(BadRequest):
    code = "invalid_idempotency_key"
    title = "Invalid Idempotency-Key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response before it is one: status, headers of its own, JSON body."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, status_code=self.status, headers=self.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotentCall:
    """One request under a key; without a key it is simply done."""

    slot: Slot | None
    request_hash: bytes

    async def once(self, database: Database, work: Callable[[Connection], Awaitable[Answer]]) -> Answer:
        """Does `work` in one transaction with its stored answer, or replays that.

        Raises KeyInFlight while another transaction has the key (nobody queues), KeyReused for another
        body. What raises stores nothing: the same key may try again.
        """
        async with database.transaction() as conn:
            if self.slot is None:
                return await work(conn)
            if not await queries.try_lock(conn, self.slot):
                raise KeyInFlight("Try again when the first request with this Idempotency-Key is answered.")
            stored = await queries.get(conn, self.slot)
            if stored is not None:
                return self._replay(stored)
            answer = await work(conn)
            await queries.put(conn, self.slot, _stored(answer, self.request_hash))
            return answer

    async def answered(self, database: Database) -> Answer | None:
        """The stored answer, for work that is done before the transaction that stores one. Raises KeyReused."""
        if self.slot is None:
            return None
        async with database.connection() as conn:
            stored = await queries.get(conn, self.slot)
        return None if stored is None else self._replay(stored)

    async def replace(self, conn: Connection, answer: Answer) -> None:
        """From now on the key replays this answer: a 201 that was waited for, instead of the 202."""
        if self.slot is not None:
            await queries.put(conn, self.slot, _stored(answer, self.request_hash))

    def _replay(self, stored: Stored) -> Answer:
        if stored.request_hash != self.request_hash:
            raise KeyReused("This Idempotency-Key was sent with another body; use a new key.")
        headers = {**stored.headers, "Idempotent-Replayed": "true"}
        return Answer(status=stored.status, body=stored.body, headers=headers)


def _stored(answer: Answer, request_hash: bytes) -> Stored:
    return Stored(request_hash=request_hash, status=answer.status, headers=answer.headers, body=answer.body)


async def idempotency_key(
    idempotency_key: Annotated[
        str | None, Header(description="Up to 255 characters, quoted or bare; kept for 24 hours")
    ] = None,
) -> str | None:
    """Raises InvalidKey for one that is empty, too long, or not printable ASCII."""
    if idempotency_key is None:
        return None
    key = idempotency_key.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key or len(key) > _MAX_LENGTH or not (key.isascii() and key.isprintable()):
        raise InvalidKey(f"An Idempotency-Key has 1 to {_MAX_LENGTH} printable ASCII characters.")
    return key


Key = Annotated[str | None, Depends(idempotency_key)]


def call(*, caller: str, route: str, key: str | None, body: BaseModel) -> IdempotentCall:
    """`body` counts by its values: the order of its fields and white space make no other request."""
    values = body.model_dump(mode="json", exclude_unset=True, context=WITH_SECRETS)
    canonical = json.dumps(values, sort_keys=True)
    slot = None if key is None else Slot(caller=caller, route=route, key=key)
    return IdempotentCall(slot=slot, request_hash=hashlib.sha256(canonical.encode()).digest())


def without_key() -> IdempotentCall:
    """Of a method that is idempotent by itself: nothing is stored."""
    return IdempotentCall(slot=None, request_hash=b"")


def replayed(answer: Answer) -> bool:
    return "Idempotent-Replayed" in answer.headers


def with_headers(answer: Answer, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return replace(answer, headers={**answer.headers, **named})
