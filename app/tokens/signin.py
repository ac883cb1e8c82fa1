"""Signing people in at the issuer: authorization code with PKCE (RFC 6749, RFC 7636, RFC 9700, RFC 9207)."""

import asyncio
import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import urlencode

import httpx

from app.errors import InvalidCredentials
from app.log import logger
from app.settings import Settings
from app.tokens.jwks import IssuerUnavailable, NotWhatItShouldBeError, discovered, place_of, read_json

_log = logger(__name__)
_TIMEOUT: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What is remembered of somebody who was sent to the issuer; the verifier is a secret until it is used."""

    state: str
    verifier: str = field(repr=False)

    @classmethod
    def new(cls) -> Self:
        return cls(state=secrets.token_urlsafe(32), verifier=secrets.token_urlsafe(48))

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """The page as a client of the issuer. Without a secret it is a public one, which PKCE is enough for."""

    issuer: str
    allow_http: bool
    client_id: str
    client_secret: str = field(repr=False)
    scope: str

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """None where people sign in with API keys alone."""
        if not (settings.oidc_issuer and settings.oidc_client_id):
            return None
        return cls(
            issuer=settings.oidc_issuer,
            allow_http=settings.oidc_allow_http,
            client_id=settings.oidc_client_id,
            client_secret=settings.oidc_client_secret.get_secret_value(),
            scope=settings.oidc_scope,
        )

    async def begin(self, attempt: Attempt, *, callback: str) -> str:
        """Where to send the browser. Raises IssuerUnavailable."""
        async with self._client() as client:
            place = await self._place(client, "authorization_endpoint")
        asked = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": callback,
            "scope": self.scope,
            "state": attempt.state,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        return f"{place}{'&' if '?' in place else '?'}{urlencode(asked)}"

    async def finish(self, attempt: Attempt, code: str, *, callback: str) -> str:
        """The access token, which is yet to be verified. Raises IssuerUnavailable, InvalidCredentials."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback,
            "code_verifier": attempt.verifier,
        }
        form |= {} if self.client_secret else {"client_id": self.client_id}
        async with self._client() as client:
            place = await self._place(client, "token_endpoint")
            try:
                answer = await self._read(client, place, form)
            except NotWhatItShouldBeError as error:
                _log.warning("sign_in_refused", issuer=self.issuer, reason=str(error))
                raise InvalidCredentials("The issuer did not take what it had given: sign in again.") from None
        token = answer.get("access_token")
        if not isinstance(token, str):
            raise InvalidCredentials("The issuer gave no access token.")
        return token

    def _client(self) -> httpx.AsyncClient:
        """Follows no redirect: where things are is the issuer's to say, in its document."""
        return httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False)

    async def _place(self, client: httpx.AsyncClient, name: str) -> str:
        try:
            async with asyncio.timeout(_TIMEOUT):
                document = await discovered(client, self.issuer)
            return place_of(document, name, issuer=self.issuer, allow_http=self.allow_http)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, NotWhatItShouldBeError) as error:
            raise self._away(error) from error

    async def _read(self, client: httpx.AsyncClient, place: str, form: dict[str, str]) -> dict[str, Any]:
        if self.client_secret:
            client.auth = httpx.BasicAuth(self.client_id, self.client_secret)
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await read_json(client, place, method="POST", form=form)
        except (httpx.HTTPError, TimeoutError) as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> IssuerUnavailable:
        _log.warning("issuer_away", issuer=self.issuer, reason=str(error) or type(error).__name__)
        return IssuerUnavailable("Nobody can sign in there now: the issuer does not answer.")
