"""The public keys of the issuer, fetched from where its discovery document says."""

import asyncio
import json
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey, import_key

from app import oidc
from app.errors import Unavailable
from app.log import logger

_log = logger(__name__)
# Seconds between two fetches, whoever asks: an unknown key id is anybody's to send.
PAUSE: Final = 60.0
# The same while no key is known at all, and nobody gets in.
_PAUSE_WITHOUT: Final = 5.0
# Seconds after which the keys are read again: a key that the issuer took back stays good for no longer.
_FRESH: Final = 300.0
# Seconds for which the keys stay good while the issuer is away.
_STALE: Final = 24 * 3600.0
_TIMEOUT: Final = 5.0
_MOST_BYTES: Final = 512 * 1024
_LEAST_RSA_BITS: Final = 2048


class IssuerUnavailable(Unavailable):
    code = "issuer_unavailable"
    title = "The issuer of access tokens does not answer"


class NotWhatItShouldBeError(Exception):
    """Of an answer that came; says what is wrong with it."""


class Jwks:
    """One fetch at a time, for all who wait for it. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        issuer: str,
        *,
        allow_http: bool,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._issuer = issuer
        self._allow_http = allow_http
        self._clock = clock
        self._transport = transport
        self._keys: Mapping[str | None, Key] = {}
        self._read_at: float | None = None
        self._not_before = -1.0
        self._fetching: asyncio.Task[None] | None = None
        self.generation = 0

    async def stop(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            with suppress(asyncio.CancelledError):
                await self._fetching

    async def find(self, key_id: str | None) -> Key | None:
        """None where the issuer has no such key. No id means the only key there is.

        Raises IssuerUnavailable while no key is known that may still be used.
        """
        age = self._age()
        if age >= _STALE:
            await self._refresh()
            if self._age() >= _STALE:
                raise IssuerUnavailable("Access tokens cannot be checked: their issuer does not answer.")
        elif age >= _FRESH:
            self._begin()
        if key_id not in self._keys and key_id is not None:
            await self._refresh()
        return self._keys.get(key_id)

    def _age(self) -> float:
        return float("inf") if self._read_at is None else self._clock() - self._read_at

    async def _refresh(self) -> None:
        """Shielded: who asked may give up, and others wait for the same answer."""
        self._begin()
        if self._fetching is not None:
            await asyncio.shield(self._fetching)

    def _begin(self) -> None:
        """Unless it is under way, or was tried a moment ago."""
        now = self._clock()
        if (self._fetching is None or self._fetching.done()) and now >= self._not_before:
            self._not_before = now + (_PAUSE_WITHOUT if self._age() >= _STALE else PAUSE)
            self._fetching = asyncio.create_task(self._fetch(), name="jwks")

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                keys = await self._read()
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, NotWhatItShouldBeError) as error:
            _log.warning("issuer_keys_not_read", issuer=self._issuer, reason=str(error) or type(error).__name__)
            return
        now = self._clock()
        self._read_at, self._not_before = now, now + PAUSE
        if _named(keys) != _named(self._keys):
            self.generation += 1
            _log.info("issuer_keys_read", issuer=self._issuer, keys=sorted(key for key in keys if key is not None))
        self._keys = keys

    async def _read(self) -> Mapping[str | None, Key]:
        # Redirects are not followed: where the keys are is the issuer's to say, in its document.
        async with httpx.AsyncClient(transport=self._transport, timeout=_TIMEOUT, follow_redirects=False) as client:
            document = await discovered(client, self._issuer)
            place = place_of(document, "jwks_uri", issuer=self._issuer, allow_http=self._allow_http)
            return _usable(await read_json(client, place))


async def discovered(client: httpx.AsyncClient, issuer: str) -> dict[str, Any]:
    """The issuer's discovery document. Raises as read_json() does."""
    document = await read_json(client, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if document.get("issuer") != issuer:
        raise NotWhatItShouldBeError("its discovery document names another issuer")
    return document


def place_of(document: Mapping[str, Any], name: str, *, issuer: str, allow_http: bool) -> str:
    """A URL of the discovery document. Raises NotWhatItShouldBeError."""
    try:
        place = oidc.require_trusted(str(document.get(name)), allow_http=allow_http)
    except ValueError as error:
        raise NotWhatItShouldBeError(f"its {name} {error}") from None
    if urlsplit(issuer).scheme == "https" != urlsplit(place).scheme:
        raise NotWhatItShouldBeError(f"its {name} is no https URL, though the issuer is one")
    return place


async def read_json(
    client: httpx.AsyncClient, url: str, *, method: str = "GET", form: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Raises NotWhatItShouldBeError, and what httpx raises. Read as it comes, so that no answer fills the memory."""
    async with client.stream(method, url, headers={"Accept": "application/json"}, data=form) as response:
        if response.status_code != 200:
            raise NotWhatItShouldBeError(f"{url} answers {response.status_code}")
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > _MOST_BYTES:
                raise NotWhatItShouldBeError(f"{url} answers more than {_MOST_BYTES} bytes")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise NotWhatItShouldBeError(f"{url} answers no JSON") from None
    if not isinstance(document, dict):
        raise NotWhatItShouldBeError(f"{url} answers no object")
    return document


def _usable(document: Mapping[str, Any]) -> Mapping[str | None, Key]:
    """By id; the only one by none, too. Raises NotWhatItShouldBeError where there is none at all."""
    listed = document.get("keys")
    found = [(one, _key(one)) for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    keys = [(one.get("kid"), key) for one, key in found if key is not None]
    if not keys:
        raise NotWhatItShouldBeError("it publishes no key that signs tokens")
    by_id: dict[str | None, Key] = {name: key for name, key in keys if isinstance(name, str)}
    return {**by_id, None: keys[0][1]} if len(keys) == 1 else by_id


def _key(document: dict[str, Any]) -> Key | None:
    """None for what signs no token: keys for encryption, secrets that two share, and what is too short."""
    operations = document.get("key_ops")
    if document.get("use", "sig") != "sig" or (isinstance(operations, list) and "verify" not in operations):
        return None
    if document.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    try:
        with warnings.catch_warnings(action="ignore"):
            key = import_key(document)
    except Exception:  # noqa: BLE001 -- whatever it is that an issuer publishes, the other keys count
        return None
    if isinstance(key, RSAKey) and key.public_key.key_size < _LEAST_RSA_BITS:
        return None
    return key if isinstance(key, RSAKey | ECKey | OKPKey) else None


def _named(keys: Mapping[str | None, Key]) -> dict[str | None, str]:
    return {name: key.thumbprint() for name, key in keys.items()}
