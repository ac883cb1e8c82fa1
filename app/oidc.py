"""What the BF_OIDC_* variables may say. Pure."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from app.roles import Role

# Of public keys alone: with HMAC, who can verify a token can make one.
ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"}
)
_VARIABLE_WORDS: Final = re.compile(r"[\s,]+")


def words(text: str) -> tuple[str, ...]:
    """Of a list with commas, or spaces."""
    return tuple(word for word in _VARIABLE_WORDS.split(text) if word)


def require_trusted(url: str, *, allow_http: bool) -> str:
    """Raises ValueError for what anybody on the way could answer for."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is no URL") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("must be an https URL")
    if parts.username is not None or parts.fragment:
        raise ValueError("must have neither a user nor a fragment")
    if parts.scheme == "http" and not (allow_http or _is_loopback(host)):
        raise ValueError("must be an https URL; BF_OIDC_ALLOW_HTTP=true where the network in between is trusted")
    return url


def require_issuer(url: str, *, allow_http: bool) -> str:
    """Raises ValueError. Without a query: the place of its discovery document follows from it."""
    if urlsplit(require_trusted(url, allow_http=allow_http)).query:
        raise ValueError("must have no query")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def algorithms(text: str) -> frozenset[str]:
    """Raises ValueError for none, and for one that is not of public keys."""
    found = frozenset(words(text))
    if not found or not found <= ALGORITHMS:
        raise ValueError(f"must name some of {', '.join(sorted(ALGORITHMS))}")
    return found


def types(text: str) -> frozenset[str]:
    """In lower case. Raises ValueError for none."""
    found = frozenset(word.lower().removeprefix("application/") for word in words(text))
    if not found:
        raise ValueError("must name at least one, such as at+jwt")
    return found


def role_map(text: str) -> Mapping[str, Role]:
    """`VALUE=ROLE` by commas; of nothing, each role by its own name. Raises ValueError.

    A value may hold anything but a comma: it ends at the last `=`.
    """
    if not text.strip():
        return {role.value: role for role in Role}
    found: dict[str, Role] = {}
    for pair in text.split(","):
        value, equals, name = pair.strip().rpartition("=")
        if not equals or not value.strip():
            raise ValueError("write VALUE=ROLE,VALUE=ROLE")
        if name.strip() not in set(Role):
            raise ValueError(f"{name.strip()} is no role; there are {', '.join(Role)}")
        found[value.strip()] = Role(name.strip())
    return found
