"""Access tokens of a real issuer, and everything that is none."""

import asyncio
import base64
import hmac
import json
import os
import random
import secrets
import time
from typing import Any

import asyncpg
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import ECKey, OKPKey, RSAKey
from pydantic import ValidationError

from app import oidc
from app.apikeys.model import Role
from app.errors import InsufficientScope, InvalidCredentials, Unavailable
from app.settings import Settings
from app.tokens import jwks
from app.tokens.provider import Caller, Provider
from app.tokens.verifier import Verifier
from tests.support.api import Api
from tests.support.data import make_tenant
from tests.support.issuer import AUDIENCE, Issuer
from tests.support.problems import problem
from tests.tokens.conftest import provider_of

_FULL = os.environ.get("BF_TEST_FULL") == "1"
_INVALID = (
    'Bearer realm="apg-bf-tenant-admin", error="invalid_token", error_description="The access token is not valid."'
)


class _Clock:
    """Monotonic, and moved by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _part(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def _by_hmac(header: dict[str, str], body: str, secret: bytes) -> str:
    signed = f"{_part(header)}.{body}"
    digest = hmac.digest(secret, signed.encode(), header["alg"].replace("HS", "sha"))
    return f"{signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


# by HTTP ---------------------------------------------------------------------------------------------


async def test_a_token_that_the_issuer_gives_opens_what_its_role_opens(
    trusting: Api, issuer: Issuer, conn: asyncpg.Connection
) -> None:
    token = await asyncio.to_thread(issuer.token, "ops", roles=["operator", "viewer"], org={"tenant": "*"})
    made = await trusting.client.post(
        "/v1/tenants", json={"tenant_id": "acme_corp", "tenant_name": "A"}, headers=_bearer(token)
    )
    assert made.status_code == 202, made.text
    assert await conn.fetchval("SELECT actor FROM bf_control.audit WHERE action = 'tenant.create'") == "oidc:ops"
    refused = await trusting.client.get("/v1/api-keys", headers=_bearer(token))
    problem(refused, 403, "forbidden")
    assert refused.headers["WWW-Authenticate"].endswith('error="insufficient_scope", scope="admin"')
    assert (await trusting.client.get("/v1/api-keys")).status_code == 200, "keys go on working"


async def test_a_token_for_one_tenant_opens_that_one(trusting: Api, issuer: Issuer, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "acme_corp")
    await make_tenant(conn, "globex")
    token = await asyncio.to_thread(issuer.token, roles="viewer", org={"tenant": "acme_corp"})
    assert (await trusting.client.get("/v1/tenants/acme_corp", headers=_bearer(token))).status_code == 200
    foreign = await trusting.client.get("/v1/tenants/globex", headers=_bearer(token))
    problem(foreign, 404, "tenant_not_found")
    problem(await trusting.client.get("/v1/tenants", headers=_bearer(token)), 403, "forbidden")
    for org in (None, {}, {"tenant": None}, {"tenant": ["acme_corp", "globex"]}, {"tenant": "Acme"}, "acme_corp"):
        nobody_s = await trusting.client.get("/v1/tenants", headers=_bearer(issuer.sign(org=org)))
        problem(nobody_s, 401, "unauthenticated")


async def test_a_token_is_none_for_an_api_without_an_issuer(idle_api: Api, issuer: Issuer) -> None:
    problem(await idle_api.client.get("/v1/tenants", headers=_bearer(issuer.sign())), 401, "unauthenticated")
    assert issuer.fetches == 0


async def test_a_token_goes_into_authorization_alone(trusting: Api, issuer: Issuer) -> None:
    token = issuer.sign(org={"tenant": "*"})
    assert (await trusting.client.get("/v1/tenants", headers=_bearer(token))).status_code == 200
    del trusting.client.headers["Authorization"]
    problem(await trusting.client.get("/v1/tenants", headers={"X-API-Key": token}), 401, "unauthenticated")


async def test_every_refusal_is_the_same_and_says_what_rfc_6750_says(trusting: Api, issuer: Issuer) -> None:
    answers = []
    for token in ("a.b.c", issuer.sign(aud="other"), issuer.sign(exp=1), issuer.sign(header={"kid": "x"})):
        answer = await trusting.client.get("/v1/tenants", headers=_bearer(token))
        problem(answer, 401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"] == _INVALID
        body = answer.json()
        del body["request_id"]
        answers.append(body)
    assert all(body == answers[0] for body in answers)


async def test_while_the_issuer_was_never_there_it_is_503_and_keys_work(trusting: Api, issuer: Issuer) -> None:
    issuer.away = True
    answer = await trusting.client.get("/v1/tenants", headers=_bearer(issuer.sign()))
    problem(answer, 503, "issuer_unavailable")
    assert answer.headers["Retry-After"]
    assert (await trusting.client.get("/v1/tenants")).status_code == 200


# the token itself ------------------------------------------------------------------------------------


def _hostile(issuer: Issuer) -> dict[str, str]:
    """What is wrong, and a token with that alone."""
    public = issuer.key.as_pem(private=False)
    now = int(time.time())
    own = RSAKey.generate_key(2048, {"kid": issuer.key.kid})
    curve = ECKey.generate_key("P-256", {"kid": issuer.key.kid})
    good = issuer.sign()
    head, body, signature = good.split(".")
    named = {"alg": "RS256", "typ": "at+jwt", "kid": issuer.key.kid}
    unsigned = _part({"alg": "none", "typ": "at+jwt", "kid": issuer.key.kid})
    return {
        "none": f"{unsigned}.{body}.",
        "none with a signature": f"{unsigned}.{body}.{signature}",
        "None": f"{_part({'alg': 'None', 'typ': 'at+jwt'})}.{body}.",
        "HS256 with the public key": _by_hmac({**named, "alg": "HS256"}, body, public),
        "HS256 with the public key, trimmed": _by_hmac({**named, "alg": "HS256"}, body, public.strip()),
        "HS256 with the modulus": _by_hmac(
            {**named, "alg": "HS256"}, body, str(issuer.key.as_dict(private=False)["n"]).encode()
        ),
        "HS512 with nothing": _by_hmac({**named, "alg": "HS512"}, body, b""),
        "PS256, which is not pinned": issuer.sign(
            header={"alg": "PS256"}, key=RSAKey.import_key(issuer.key.as_pem(private=True))
        ),
        "ES256 by a key of its own": issuer.sign(header={"alg": "ES256"}, key=curve),
        "a key of its own": issuer.sign(key=own),
        "an unknown kid": issuer.sign(header={"kid": "unknown"}, key=own),
        "a kid that is a path": issuer.sign(header={"kid": "../../dev/null"}, key=own),
        "another body": f"{head}.{_part(issuer.claims(sub='root'))}.{signature}",
        "no signature": f"{head}.{body}.",
        "another signature": f"{head}.{body}.{signature[:-8]}AAAAAAAA",
        "jku": issuer.sign(header={"jku": f"{issuer.url}/jwks"}),
        "x5u": issuer.sign(header={"x5u": f"{issuer.url}/jwks"}),
        "jwk": issuer.sign(header={"jwk": own.as_dict(private=False)}, key=own),
        "x5c": issuer.sign(header={"x5c": ["MIIB"]}),
        "crit": f"{_part({**named, 'crit': ['exp']})}.{body}.{signature}",
        "typ JWT": issuer.sign(header={"typ": "JWT"}),
        "typ of an ID token's logout": issuer.sign(header={"typ": "logout+jwt"}),
        "no typ": issuer.sign(header={"typ": None}),
        "iss": issuer.sign(iss="https://evil.example"),
        "iss with a slash": issuer.sign(iss=f"{issuer.url}/"),
        "no iss": issuer.sign(iss=None),
        "iss in a list": issuer.sign(iss=[issuer.url]),
        "aud": issuer.sign(aud="another"),
        "aud in capitals": issuer.sign(aud=AUDIENCE.upper()),
        "auds": issuer.sign(aud=["another", "third"]),
        "no aud": issuer.sign(aud=None),
        "aud in an object": issuer.sign(aud={AUDIENCE: True}),
        "expired": issuer.sign(exp=now - 31),
        "no exp": issuer.sign(exp=None),
        "exp as text": issuer.sign(exp="2999-01-01"),
        "exp true": issuer.sign(exp=True),
        "exp without end": issuer.sign(exp=float("inf")),
        "exp NaN": issuer.sign(exp=float("nan")),
        "not yet": issuer.sign(nbf=now + 60),
        "nbf as text": issuer.sign(nbf="now"),
        "issued tomorrow": issuer.sign(iat=now + 86_400),
        "no iat": issuer.sign(iat=None),
        "no sub": issuer.sign(sub=None),
        "an empty sub": issuer.sign(sub=""),
        "a number as sub": issuer.sign(sub=7),
        "a sub with a line": issuer.sign(sub="a\nb"),
        "a long sub": issuer.sign(sub="x" * 256),
        "too long": issuer.sign(extra="x" * 20_000),
        "a list as header": f"{_part(['RS256'])}.{body}.{signature}",
        "deep JSON": f"{base64.urlsafe_b64encode(b'[' * 9000).decode().rstrip('=')}.{body}.{signature}",
        "not base64": f"{head}.{body}.é",
        "empty": "..",
        "four parts": f"{good}.x",
        "white space": f"{head}.{body}.{signature}\n",
        "a kid that is a number": f"{_part({'alg': 'RS256', 'typ': 'at+jwt', 'kid': 7})}.{body}.{signature}",
        "alg in a list": f"{_part({'alg': ['RS256'], 'typ': 'at+jwt'})}.{body}.{signature}",
    }


async def test_nothing_but_a_good_token_is_one(issuer: Issuer, subtests: pytest.Subtests) -> None:
    verifier = Verifier(provider_of(issuer))
    good = await verifier.verify(issuer.sign())
    assert (good.subject, good.role, good.tenant_id) == ("ops", Role.ADMIN, None)
    for name, token in _hostile(issuer).items():
        with subtests.test(name), pytest.raises(InvalidCredentials):
            await verifier.verify(token)
    assert issuer.fetches <= 2
    assert (await verifier.verify(issuer.sign())).role is Role.ADMIN
    await verifier.stop()


async def test_no_change_of_a_single_character_is_taken(issuer: Issuer) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201
    chance = random.Random(seed)  # noqa: S311 -- what is tried, not what is kept
    verifier = Verifier(provider_of(issuer))
    token = issuer.sign()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \0é"
    for _ in range(20_000 if _FULL else 300):
        place = chance.randrange(len(token) - 2)  # the last one has bits that no byte is made of
        other = chance.choice(alphabet.replace(token[place], ""))
        with pytest.raises(InvalidCredentials):
            await verifier.verify(token[:place] + other + token[place + 1 :])
    await verifier.stop()


def _key_for(algorithm: str) -> RSAKey | ECKey | OKPKey:
    named = {"kid": "k"}
    match algorithm[:2]:
        case "ES":
            curves = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
            return ECKey.generate_key(curves[algorithm], named)
        case "Ed":
            return OKPKey.generate_key("Ed25519", named)
        case _:
            return RSAKey.generate_key(2048, named)


@pytest.mark.parametrize("algorithm", sorted(oidc.ALGORITHMS))
async def test_every_algorithm_there_is_to_choose_works_when_it_is_chosen(issuer: Issuer, algorithm: str) -> None:
    made = _key_for(algorithm)
    issuer.published = {"keys": [made.as_dict(private=False)]}
    token = issuer.sign(header={"alg": algorithm, "kid": "k"}, key=made)
    chosen = Verifier(provider_of(issuer, oidc_algorithms=f"{algorithm},RS256"))
    assert (await chosen.verify(token)).role is Role.ADMIN
    others = ",".join(sorted(oidc.ALGORITHMS - {algorithm}))
    with pytest.raises(InvalidCredentials):
        await Verifier(provider_of(issuer, oidc_algorithms=others)).verify(token)


async def test_a_provider_without_rfc_9068_is_taken_where_that_is_said(issuer: Issuer) -> None:
    verifier = Verifier(provider_of(issuer, oidc_types="at+jwt, JWT"))
    for kind in ("JWT", "jwt", "application/at+jwt", "AT+JWT"):
        assert (await verifier.verify(issuer.sign(header={"typ": kind}))).subject == "ops"
    assert (await verifier.verify(issuer.sign(aud=["a", AUDIENCE]))).subject == "ops"
    assert (await verifier.verify(issuer.sign(exp=int(time.time()) - 5))).subject == "ops", "within the leeway"


async def test_a_token_that_is_known_expires_all_the_same(issuer: Issuer) -> None:
    now = time.time()
    verifier = Verifier(provider_of(issuer), now=lambda: now)
    token = issuer.sign(exp=int(now) + 10)
    for _ in range(3):
        assert (await verifier.verify(token)).subject == "ops"
    now += 41
    with pytest.raises(InvalidCredentials):
        await verifier.verify(token)


# claims ----------------------------------------------------------------------------------------------


def _caller(claims: dict[str, Any], **settings: str) -> Caller:
    given = {"oidc_issuer": "https://issuer.example", "oidc_audience": "us", **settings}
    provider = Provider.of(Settings.model_validate(given))
    assert provider is not None
    good = {"iss": "https://issuer.example", "aud": "us", "sub": "s", "iat": 1, "exp": 10}
    return provider.caller({**good, **claims}, now=5)


@pytest.mark.parametrize(("claims", "settings", "role"), [
    ({"roles": ["viewer"]}, {}, Role.VIEWER),
    ({"roles": "viewer admin"}, {}, Role.ADMIN),
    ({"roles": ["metrics", "reader", "auditor"]}, {}, Role.AUDITOR),
    ({"roles": ["auditor", "viewer"]}, {}, Role.VIEWER),
    ({"realm_access": {"roles": ["operator"]}}, {"oidc_roles_claim": "realm_access.roles"}, Role.OPERATOR),
    ({"https://x.example/roles": ["admin"]}, {"oidc_roles_claim": "https://x.example/roles"}, Role.ADMIN),
    ({"groups": ["BF Ops"]}, {"oidc_roles_claim": "groups", "oidc_role_map": "BF Ops=operator"}, Role.OPERATOR),
    ({"groups": "BF Ops"}, {"oidc_roles_claim": "groups", "oidc_role_map": "BF Ops=operator"}, Role.OPERATOR),
    ({"scope": "openid bf:read"}, {"oidc_roles_claim": "scope", "oidc_role_map": "bf:read=viewer"}, Role.VIEWER),
    ({"groups": ["cn=a,x=y"]}, {"oidc_roles_claim": "groups", "oidc_role_map": "cn=a=admin"}, None),
    ({"roles": ["admin"]}, {"oidc_role_map": "staff=admin"}, None),
    ({"roles": ["Admin", 7, None, {"admin": 1}]}, {}, None),
    ({"roles": {"admin": True}}, {}, None),
    ({"realm_access": ["roles"]}, {"oidc_roles_claim": "realm_access.roles"}, None),
    ({}, {}, None),
])  # fmt: skip
def test_the_highest_role_that_is_mapped_counts(
    claims: dict[str, Any], settings: dict[str, str], role: Role | None
) -> None:
    if role is None:
        with pytest.raises(InsufficientScope):
            _caller(claims, **settings)
    else:
        assert _caller(claims, **settings).role is role


@pytest.mark.parametrize(("variables", "word"), [
    ({"oidc_issuer": "http://issuer.example", "oidc_audience": "us"}, "https"),
    ({"oidc_issuer": "ftp://issuer.example", "oidc_audience": "us"}, "https"),
    ({"oidc_issuer": "issuer.example", "oidc_audience": "us"}, "https"),
    ({"oidc_issuer": "https://u:p@issuer.example", "oidc_audience": "us"}, "user"),
    ({"oidc_issuer": "https://issuer.example?x=1", "oidc_audience": "us"}, "query"),
    ({"oidc_issuer": "https://issuer.example:x", "oidc_audience": "us"}, "URL"),
    ({"oidc_issuer": "https://issuer.example"}, "for whom"),
    ({"oidc_algorithms": "HS256"}, "must name"),
    ({"oidc_algorithms": "RS256,none"}, "must name"),
    ({"oidc_algorithms": " "}, "must name"),
    ({"oidc_types": " "}, "at least one"),
    ({"oidc_role_map": "staff"}, "VALUE=ROLE"),
    ({"oidc_role_map": "staff=owner"}, "no role"),
])  # fmt: skip
def test_settings_that_would_let_others_in_are_refused(variables: dict[str, str], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        Settings.model_validate(variables)


def test_http_is_for_loopback_and_for_who_says_so() -> None:
    for url in ("http://127.0.0.1:8080/realms/x", "http://[::1]/", "http://localhost:1"):
        Settings.model_validate({"oidc_issuer": url, "oidc_audience": "us"})
    Settings.model_validate({"oidc_issuer": "http://keycloak:8080", "oidc_audience": "us", "oidc_allow_http": True})


# the issuer's keys -----------------------------------------------------------------------------------


async def test_ten_thousand_unknown_kids_make_one_fetch(issuer: Issuer) -> None:
    clock = _Clock()
    verifier = Verifier(provider_of(issuer), clock=clock)
    await verifier.verify(issuer.sign())
    clock.at += 61
    template = issuer.sign(header={"kid": "x"}).partition(".")[2]
    refused = 0
    for number in range(10_000 if _FULL else 1_000):
        header = _part({"alg": "RS256", "typ": "at+jwt", "kid": f"unknown-{number}"})
        try:
            await verifier.verify(f"{header}.{template}")
        except InvalidCredentials:
            refused += 1
    assert refused == (10_000 if _FULL else 1_000)
    assert issuer.fetches == 2, "the first, and one for all of them"
    clock.at += 61
    with pytest.raises(InvalidCredentials):
        await verifier.verify(issuer.sign(header={"kid": "again"}))
    assert issuer.fetches == 3


async def test_a_hundred_at_once_wait_for_one_fetch(issuer: Issuer) -> None:
    verifier = Verifier(provider_of(issuer))
    tokens = [issuer.sign() for _ in range(100)]
    callers = await asyncio.gather(*(verifier.verify(token) for token in tokens))
    assert {caller.subject for caller in callers} == {"ops"}
    assert issuer.fetches == 1


async def test_who_gives_up_leaves_the_fetch_to_the_others(issuer: Issuer) -> None:
    verifier = Verifier(provider_of(issuer))
    first = asyncio.create_task(verifier.verify(issuer.sign()))
    other = asyncio.create_task(verifier.verify(issuer.sign()))
    await asyncio.sleep(0)
    first.cancel()
    assert (await other).subject == "ops"


async def test_rotated_keys_are_found_and_the_old_ones_go_on(issuer: Issuer) -> None:
    clock = _Clock()
    verifier = Verifier(provider_of(issuer), clock=clock)
    before = await asyncio.to_thread(issuer.token, roles=["viewer"])
    assert (await verifier.verify(before)).role is Role.VIEWER
    issuer.rotate()
    after = await asyncio.to_thread(issuer.token, roles=["operator"])
    clock.at += jwks.PAUSE
    assert (await verifier.verify(after)).role is Role.OPERATOR
    assert (await verifier.verify(before)).role is Role.VIEWER


async def test_a_key_that_the_issuer_takes_back_is_good_for_minutes_at_most(issuer: Issuer) -> None:
    clock = _Clock()
    verifier = Verifier(provider_of(issuer), clock=clock)
    token, another = issuer.sign(), issuer.sign()
    await verifier.verify(token)
    issuer.rotate(keep=False)
    clock.at += 301
    await verifier.verify(another)  # with the keys at hand; they are read meanwhile
    for _ in range(100):
        await asyncio.sleep(0.02)
        if issuer.fetches == 2:
            break
    await asyncio.sleep(0.1)
    for old in (token, another):
        with pytest.raises(InvalidCredentials):
            await verifier.verify(old)


@pytest.mark.parametrize("published", [{}, {"keys": []}, {"keys": "x"}, {"keys": [{"kty": "oct", "k": "AAAA"}]}])
async def test_old_keys_stay_while_the_issuer_has_none_and_not_for_ever(
    issuer: Issuer, published: dict[str, Any]
) -> None:
    clock = _Clock()
    verifier = Verifier(provider_of(issuer), clock=clock)
    await verifier.verify(issuer.sign())
    issuer.away, issuer.published = not published, published
    clock.at += 3600
    assert (await verifier.verify(issuer.sign())).subject == "ops"
    assert verifier._jwks._fetching is not None
    await verifier._jwks._fetching  # meanwhile they are looked for
    clock.at += 24 * 3600
    with pytest.raises(Unavailable):
        await verifier.verify(issuer.sign())
    issuer.away, issuer.published = False, None
    with pytest.raises(Unavailable):
        await verifier.verify(issuer.sign())  # it was tried a moment ago
    clock.at += 6
    assert (await verifier.verify(issuer.sign())).subject == "ops"


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"jwks_uri": "http://evil.example/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
        {"jwks_uri": ["x"]},
    ],
)
async def test_keys_come_from_the_issuer_alone(issuer: Issuer, discovery: dict[str, Any]) -> None:
    issuer.discovery = discovery
    with pytest.raises(Unavailable):
        await Verifier(provider_of(issuer)).verify(issuer.sign())
    assert issuer.fetches == 0


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
async def test_keys_that_sign_no_tokens_are_left_out(issuer: Issuer) -> None:
    public = issuer.key.as_dict(private=False)
    short = RSAKey.import_key(_short_key(), {"kid": "short"})
    issuer.published = {
        "keys": [
            {**public, "kid": "enc", "use": "enc"},
            {**public, "kid": "wrap", "key_ops": ["wrapKey"]},
            {**public, "kid": "other", "alg": "RS512"},
            {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
            short.as_dict(private=False),
            {"kty": "RSA", "kid": "half"},
            {"kty": ["RSA"], "kid": "list"},
            {**public, "kid": "numbers", "n": 5},
            {**public, "kid": ["RSA"]},
            "nonsense",
            public,
        ]
    }
    clock = _Clock()
    verifier = Verifier(provider_of(issuer), clock=clock)
    assert (await verifier.verify(issuer.sign())).subject == "ops"
    for kid in ("enc", "wrap", "other", "half", "secret", "list", "numbers"):
        clock.at += jwks.PAUSE
        with pytest.raises(InvalidCredentials):
            await verifier.verify(issuer.sign(header={"kid": kid}))
    with pytest.raises(InvalidCredentials):
        await verifier.verify(issuer.sign(header={"kid": "short"}, key=short))
    with pytest.raises(InvalidCredentials):
        await verifier.verify(issuer.sign(header={"kid": None}))  # which of them?


def _short_key() -> bytes:
    made = rsa.generate_private_key(65537, 1024)  # noqa: S505
    return made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
