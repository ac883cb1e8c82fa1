"""Access tokens: JWTs of the issuer, held to RFC 8725 and RFC 9068."""

import base64
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

import httpx
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import Key
from pydantic_core import from_json

from app.log import logger
from app.tokens.jwks import Jwks
from app.tokens.provider import Caller, Provider, Refused, not_valid

_log = logger(__name__)
_MOST_CHARACTERS: Final = 16 * 1024
# They bring, or name, a key of the sender's choice, or change what is signed. No issuer of access tokens needs them.
_FORBIDDEN: Final = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64", "enc", "zip"})
# Tokens whose signature was good are not computed again for so many seconds, while the issuer's keys are the same.
_KEEP: Final = 60.0
_MOST: Final = 10_000
_MOST_HEADERS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """`until` is a moment of the monotonic clock."""

    caller: Caller
    generation: int
    until: float


def looks_like_token(presented: str) -> bool:
    """Three parts; an API key has two."""
    return presented.count(".") == 2


class Verifier:
    """`clock` is monotonic, `now` the time of day; both in seconds."""

    def __init__(
        self,
        provider: Provider,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._provider = provider
        self._clock = clock
        self._now = now
        self._jwks = Jwks(provider.issuer, allow_http=provider.allow_http, clock=clock, transport=transport)
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        # An issuer writes the same one into all tokens that a key signs.
        self._read = lru_cache(_MOST_HEADERS)(self._readable)

    async def stop(self) -> None:
        await self._jwks.stop()

    async def verify(self, token: str) -> Caller:
        """Raises InvalidCredentials, with the same words whatever is wrong; InsufficientScope for a token without a
        role; IssuerUnavailable where its issuer's keys are not to be had.
        """
        digest = hashlib.blake2b(token.encode(errors="replace"), digest_size=32).digest()
        kept = self._kept.get(digest)
        if kept is not None and self._holds(kept):
            return kept.caller
        try:
            caller = await self._checked(token)
        except Refused as refused:
            _log.info("token_refused", reason=str(refused))
            raise not_valid() from None
        self._keep(digest, caller)
        return caller

    def _holds(self, kept: _Kept) -> bool:
        in_time = self._now() < kept.caller.expires + self._provider.leeway
        return in_time and kept.generation == self._jwks.generation and self._clock() < kept.until

    def _keep(self, digest: bytes, caller: Caller) -> None:
        until = self._clock() + _KEEP
        self._kept[digest] = _Kept(caller=caller, generation=self._jwks.generation, until=until)
        self._kept.move_to_end(digest)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)

    async def _checked(self, token: str) -> Caller:
        """Raises Refused, InsufficientScope and IssuerUnavailable."""
        algorithm, key_id = self._header(token)
        key = await self._jwks.find(key_id)
        if key is None:
            raise Refused("signed by an unknown key")
        return self._provider.caller(_claims(token, key, algorithm), self._now())

    def _header(self, token: str) -> tuple[str, str | None]:
        """The algorithm, and the id of the key. Raises Refused: before any key is looked for."""
        if len(token) > _MOST_CHARACTERS or not token.isascii():
            raise Refused("too long, or no token")
        return self._read(token.partition(".")[0])

    def _readable(self, written: str) -> tuple[str, str | None]:
        """Raises Refused."""
        header = _object(_decoded(written))
        algorithm, kind, key_id = header.get("alg"), header.get("typ"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._provider.algorithms:
            raise Refused("another algorithm")
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in self._provider.types:
            raise Refused("another type")
        if not _FORBIDDEN.isdisjoint(header):
            raise Refused("a header that chooses its key")
        if key_id is not None and not isinstance(key_id, str):
            raise Refused("no key id")
        return algorithm, key_id


def _claims(token: str, key: Key, algorithm: str) -> Mapping[str, Any]:
    """Raises Refused unless `key`, by this algorithm, signed them."""
    if key.alg not in (None, algorithm):
        raise Refused("a key of another algorithm")
    try:
        return _object(jws.deserialize_compact(token, key, registry=_registry(algorithm)).payload)
    except (JoseError, ValueError, TypeError):
        raise Refused("a bad signature") from None


@cache
def _registry(algorithm: str) -> jws.JWSRegistry:
    return jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise Refused("no token") from None


def _object(text: bytes) -> dict[str, Any]:
    """Raises Refused for what is no JSON object."""
    try:
        found = from_json(text, allow_inf_nan=False)
    except ValueError:
        raise Refused("no JSON") from None
    if not isinstance(found, dict):
        raise Refused("no object")
    return found
