"""A plan is offered with a token; who repeats the token means that plan. Each token is good once, for a while."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.db.pool import Connection
from app.errors import Conflict
from app.schema import queries

_ACTION: Final = "schema.downgrade"
VALID_FOR: Final = timedelta(minutes=10)


class ConfirmationInvalid(Conflict):
    code = "confirmation_invalid"
    title = "The confirmation does not hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """`token` is shown this once; the database keeps a hash."""

    token: str
    expires_at: datetime


async def offer(conn: Connection, *, actor: str, digest: bytes) -> Confirmation:
    """For `actor` and the plan that `digest` stands for, and nobody and nothing else."""
    token = secrets.token_urlsafe(32)
    expires_at = await queries.store_confirmation(
        conn, token_hash=_hash(token), action=_ACTION, actor=actor, digest=digest, valid_for=VALID_FOR
    )
    return Confirmation(token=token, expires_at=expires_at)


async def use_up(conn: Connection, token: str, *, actor: str, digest: bytes) -> None:
    """In the transaction of what it confirms. Raises ConfirmationInvalid, saying what to do."""
    held = await queries.take_confirmation(conn, token_hash=_hash(token), action=_ACTION, actor=actor)
    if held is None:
        raise ConfirmationInvalid("The confirmation is unknown, used, expired or another caller's: make a new plan.")
    if held != digest:
        raise ConfirmationInvalid("There is more or less to drop than the plan said: make a new plan.")


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
