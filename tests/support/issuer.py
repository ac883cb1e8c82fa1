"""An OpenID issuer of its own process space: authlib's authorization server, with keys that it rotates.

What it issues is authlib's: RFC 9068 access tokens, by the client-credentials grant, and, for the person who is signed
in there (`person` has their claims), by the authorization-code grant with PKCE. `sign` makes what no issuer would.
"""

import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, ClientCredentialsGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from flask import Flask, Response, jsonify
from joserfc import jwt
from joserfc.jwk import Key, KeySet, RSAKey
from joserfc.jws import JWSRegistry
from werkzeug.serving import BaseWSGIServer, make_server

AUDIENCE = "bf-tenant-admin"
# Of the page's client, and where it lets people be sent.
PAGE, CALLBACK = "page", "http://test/ui/login/callback"


class _Client(ClientMixin):  # type: ignore[misc]
    """Any client may have what it asks for: `claims` are what its tokens say."""

    def __init__(self, client_id: str, claims: dict[str, Any]) -> None:
        self.client_id = client_id
        self.claims = claims

    def get_client_id(self) -> str:
        return self.client_id

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == "secret"

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return True

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in {"client_credentials", "authorization_code"}

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == CALLBACK


class _Person:
    def __init__(self, claims: dict[str, Any]) -> None:
        self.claims = claims

    def get_user_id(self) -> str:
        return str(self.claims["sub"])


class Issuer:
    """`fetches` counts how often its keys were asked for; while it is `away` it answers nothing but 503."""

    def __init__(self) -> None:
        self.clients: dict[str, _Client] = {}
        self.keys: list[RSAKey] = []
        self.fetches = 0
        self.away = False
        self.published: dict[str, Any] | None = None
        self.discovery: dict[str, Any] = {}
        self.person: dict[str, Any] = {"sub": "anna", "name": "Anna Operator", "roles": ["operator"]}
        self.codes: dict[str, dict[str, Any]] = {}
        self.url = ""
        self.rotate()

    @property
    def key(self) -> RSAKey:
        """The one that signs."""
        return self.keys[-1]

    def rotate(self, *, keep: bool = True) -> None:
        """From now on another key signs; the one before stays published, unless it is not to be kept."""
        new = RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig", "alg": "RS256"})
        self.keys = [*(self.keys if keep else []), new]

    def token(self, client_id: str = "ops", **claims: Any) -> str:
        """By a request to its token endpoint."""
        self.clients[client_id] = _Client(client_id, claims)
        form = {"grant_type": "client_credentials", "scope": "bf"}
        answer = httpx.post(f"{self.url}/token", data=form, auth=(client_id, "secret"), trust_env=False)
        assert answer.status_code == 200, answer.text
        issued: str = answer.json()["access_token"]
        return issued

    def claims(self, **claims: Any) -> dict[str, Any]:
        """Of a token that is good; None leaves one out."""
        now = int(time.time())
        good = {
            "iss": self.url, "aud": AUDIENCE, "sub": "ops", "client_id": "ops", "iat": now, "exp": now + 300,
            "jti": secrets.token_hex(8), "roles": ["admin"],
        }  # fmt: skip
        return {name: value for name, value in {**good, **claims}.items() if value is not None}

    def sign(self, *, header: dict[str, Any] | None = None, key: Key | None = None, **claims: Any) -> str:
        """A token as the issuer would sign it, but for what is asked otherwise."""
        head = {"alg": "RS256", "typ": "at+jwt", "kid": self.key.kid, **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        typ = head.pop("typ", None)
        return jwt.encode(
            head, self.claims(**claims), key or self.key, algorithms=[head["alg"]], default_type=typ,
            registry=_lenient(head["alg"]),
        )  # fmt: skip

    def app(self) -> Flask:
        app = Flask("issuer")
        issuer = self

        class Tokens(JWTBearerTokenGenerator):  # type: ignore[misc]
            def get_jwks(self) -> Any:
                return KeySet([issuer.key])

            def get_audiences(self, client: _Client, user: object, scope: str) -> str:
                return AUDIENCE

            def get_extra_claims(self, client: _Client, grant_type: str, user: Any, scope: str) -> dict[str, Any]:
                return client.claims if user is None else user.claims

        server = AuthorizationServer(app, query_client=self.clients.get, save_token=lambda token, request: None)
        server.register_token_generator("default", Tokens(issuer=self.url))
        server.register_grant(ClientCredentialsGrant)
        server.register_grant(_codes(issuer), [CodeChallenge(required=True)])
        self.clients[PAGE] = _Client(PAGE, {})

        @app.get("/authorize")
        def authorize() -> Any:
            grant = server.get_consent_grant(end_user=_Person(issuer.person))
            return server.create_authorization_response(grant_user=_Person(issuer.person), grant=grant)

        @app.post("/token")
        def token() -> Any:
            return server.create_token_response()

        @app.get("/.well-known/openid-configuration")
        def configuration() -> Any:
            names = {"jwks_uri": "jwks", "token_endpoint": "token", "authorization_endpoint": "authorize"}
            known = {"issuer": self.url, **{name: f"{self.url}/{path}" for name, path in names.items()}}
            return Response(status=503) if self.away else jsonify({**known, **self.discovery})

        @app.get("/jwks")
        def jwks() -> Any:
            self.fetches += 1
            if self.away:
                return Response(status=503)
            published = {"keys": [key.as_dict(private=False) for key in self.keys]}
            return jsonify(self.published or published)

        return app


class _Code:
    """What authlib asks of one: `kept` is what was asked for with it."""

    def __init__(self, kept: dict[str, Any]) -> None:
        self.code_challenge = kept["code_challenge"]
        self.code_challenge_method = kept["code_challenge_method"]
        self.kept = kept

    def get_redirect_uri(self) -> str:
        return str(self.kept["redirect_uri"])

    def get_scope(self) -> str:
        return "openid"


def _codes(issuer: Issuer) -> type[AuthorizationCodeGrant]:
    class Codes(AuthorizationCodeGrant):  # type: ignore[misc]
        TOKEN_ENDPOINT_AUTH_METHODS = ("none", "client_secret_basic")

        def save_authorization_code(self, code: str, request: Any) -> None:
            issuer.codes[code] = {**request.payload.data, "person": issuer.person}

        def query_authorization_code(self, code: str, client: object) -> _Code | None:
            return _Code(issuer.codes[code]) if code in issuer.codes else None

        def delete_authorization_code(self, authorization_code: _Code) -> None:
            issuer.codes = {code: kept for code, kept in issuer.codes.items() if kept is not authorization_code.kept}

        def authenticate_user(self, authorization_code: _Code) -> _Person:
            return _Person(authorization_code.kept["person"])

    return Codes


def _lenient(algorithm: str) -> JWSRegistry:
    """Takes headers that it does not know."""
    return JWSRegistry(algorithms=[algorithm], strict_check_header=False)


@contextmanager
def issuing() -> Iterator[Issuer]:
    """On a port of its own, in a thread."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    issuer = Issuer()
    server: BaseWSGIServer = make_server("127.0.0.1", 0, lambda *call: app(*call), threaded=True)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    app = issuer.app()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
