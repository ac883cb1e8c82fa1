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

_MAX_LENGTH: Final = 255
_TRY_LOCK = "SELECT pg_try_advisory_xact_lock($1)"
_GET = """
SELECT request_hash, status, headers, body FROM bf_control.idempotency_key
 WHERE caller = $1 AND route = $2 AND key = $3 AND created_at > now() - interval '24 hours'
"""
_PUT = """
INSERT INTO bf_control.idempotency_key AS k (caller, route, key, request_hash, status, headers, body)
VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (caller, route, key) DO UPDATE
   SET request_hash = $4, status = $5, headers = $6, body = $7, created_at = now()
"""
_REPLACE = """
UPDATE bf_control.idempotency_key SET status = $4, headers = $5, body = $6
 WHERE caller = $1 AND route = $2 AND key = $3
"""
_FORGET = "DELETE FROM bf_control.idempotency_key WHERE created_at < now() - interval '24 hours'"


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

    caller: str
    route: str
    key: str | None
    request_hash: bytes

    async def once(self, database: Database, work: Callable[[Connection], Awaitable[Answer]]) -> Answer:
        """Does `work` in one transaction with its stored answer, or replays that.

        Raises KeyInFlight while another transaction has the key (nobody queues), KeyReused for another
        body. What raises stores nothing: the same key may try again.
        """
        async with database.transaction() as conn:
            if self.key is None:
                return await work(conn)
            if not await conn.fetchval(_TRY_LOCK, self._lock()):
                raise KeyInFlight("Try again when the first request with this Idempotency-Key is answered.")
            stored = await self._stored(conn)
            if stored is not None:
                return stored
            answer = await work(conn)
            await conn.execute(_PUT, *self._row(), self.request_hash, *_columns(answer))
            return answer

    async def replace(self, conn: Connection, answer: Answer) -> None:
        """From now on the key replays this answer: a 201 that was waited for, instead of the 202."""
        if self.key is not None:
            await conn.execute(_REPLACE, *self._row(), *_columns(answer))

    async def _stored(self, conn: Connection) -> Answer | None:
        row = await conn.fetchrow(_GET, *self._row())
        if row is None:
            return None
        if bytes(row["request_hash"]) != self.request_hash:
            raise KeyReused("This Idempotency-Key was sent with another body; use a new key.")
        return Answer(
            status=row["status"],
            body=row["body"],
            headers={**row["headers"], "Idempotent-Replayed": "true"},
        )

    def _row(self) -> tuple[str, str, str]:
        assert self.key is not None  # noqa: S101 -- callers have looked
        return self.caller, self.route, self.key

    def _lock(self) -> int:
        digest = hashlib.sha256("\0".join(("idempotency", *self._row())).encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)


async def forget_old(conn: Connection) -> None:
    """Keys are kept for 24 hours."""
    await conn.execute(_FORGET)


def _columns(answer: Answer) -> tuple[int, dict[str, str], dict[str, Any]]:
    return answer.status, answer.headers, answer.body


def idempotency_key(
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
    canonical = json.dumps(body.model_dump(mode="json", exclude_unset=True), sort_keys=True)
    return IdempotentCall(caller=caller, route=route, key=key, request_hash=hashlib.sha256(canonical.encode()).digest())


def replayed(answer: Answer) -> bool:
    return "Idempotent-Replayed" in answer.headers


def with_headers(answer: Answer, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return replace(answer, headers={**answer.headers, **named})
