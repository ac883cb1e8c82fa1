"""An OpenID issuer of its own process space: authlib's authorization server, with keys that it rotates.

What it issues is authlib's: RFC 9068 access tokens by the client-credentials grant. `sign` makes what no issuer would.
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
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from flask import Flask, Response, jsonify
from joserfc import jwt
from joserfc.jwk import Key, KeySet, RSAKey
from joserfc.jws import JWSRegistry
from werkzeug.serving import BaseWSGIServer, make_server

AUDIENCE = "bf-tenant-admin"


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
        return grant_type == "client_credentials"


class Issuer:
    """`fetches` counts how often its keys were asked for; while it is `away` it answers nothing but 503."""

    def __init__(self) -> None:
        self.clients: dict[str, _Client] = {}
        self.keys: list[RSAKey] = []
        self.fetches = 0
        self.away = False
        self.published: dict[str, Any] | None = None
        self.discovery: dict[str, Any] = {}
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

            def get_extra_claims(self, client: _Client, grant_type: str, user: object, scope: str) -> dict[str, Any]:
                return client.claims

        server = AuthorizationServer(app, query_client=self.clients.get, save_token=lambda token, request: None)
        server.register_token_generator("default", Tokens(issuer=self.url))
        server.register_grant(ClientCredentialsGrant)

        @app.post("/token")
        def token() -> Any:
            return server.create_token_response()

        @app.get("/.well-known/openid-configuration")
        def configuration() -> Any:
            known = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks", "token_endpoint": f"{self.url}/token"}
            return Response(status=503) if self.away else jsonify({**known, **self.discovery})

        @app.get("/jwks")
        def jwks() -> Any:
            self.fetches += 1
            if self.away:
                return Response(status=503)
            published = {"keys": [key.as_dict(private=False) for key in self.keys]}
            return jsonify(self.published or published)

        return app


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
