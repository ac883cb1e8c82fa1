"""Whose tokens are taken, and what their claims mean here. Pure."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from app import oidc
from app.errors import InsufficientScope, InvalidCredentials
from app.roles import BY_RANK, Role
from app.settings import Settings

_TENANT: Final = re.compile(r"[a-z][a-z0-9_]{1,35}")
# What a token says that may go wherever no tenant's may.
_EVERY_TENANT: Final = "*"
_MAX_SUBJECT: Final = 255
_NAMES: Final = ("name", "preferred_username", "email", "client_id", "azp")


class Refused(Exception):
    """Why, for the log of whoever runs the service; a stranger is told no more than that it is not valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """`expires` is in seconds of the epoch."""

    subject: str
    name: str
    role: Role
    tenant_id: str | None
    expires: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """`types` are in lower case; a path into the claims is tried whole first, since a name may have dots."""

    issuer: str
    audience: str
    algorithms: frozenset[str]
    types: frozenset[str]
    roles_claim: str
    roles: Mapping[str, Role]
    tenant_claim: str
    leeway: float
    allow_http: bool

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """None where API keys are all there is."""
        if not settings.oidc_issuer:
            return None
        return cls(
            issuer=settings.oidc_issuer,
            audience=settings.oidc_audience,
            algorithms=oidc.algorithms(settings.oidc_algorithms),
            types=oidc.types(settings.oidc_types),
            roles_claim=settings.oidc_roles_claim,
            roles=oidc.role_map(settings.oidc_role_map),
            tenant_claim=settings.oidc_tenant_claim,
            leeway=settings.oidc_leeway,
            allow_http=settings.oidc_allow_http,
        )

    def caller(self, claims: Mapping[str, Any], now: float) -> Caller:
        """Of claims whose signature is good. Raises Refused, and InsufficientScope where they give no role."""
        if claims.get("iss") != self.issuer:
            raise Refused("another issuer")
        audience = claims.get("aud")
        if audience != self.audience and not (isinstance(audience, list) and self.audience in audience):
            raise Refused("another audience")
        expires = self._timely(claims, now)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT or not subject.isprintable():
            raise Refused("no subject")
        tenant_id = self._tenant(claims)
        return Caller(
            subject=subject,
            name=_name(claims) or subject,
            role=self._role(claims),
            tenant_id=tenant_id,
            expires=expires,
        )

    def _timely(self, claims: Mapping[str, Any], now: float) -> float:
        """When it expires. Raises Refused."""
        expires, issued = _moment(claims, "exp"), _moment(claims, "iat")
        if expires is None or issued is None:
            raise Refused("no exp or iat")
        if now >= expires + self.leeway:
            raise Refused("expired")
        begins = _moment(claims, "nbf")
        if max(issued, issued if begins is None else begins) > now + self.leeway:
            raise Refused("not valid yet")
        return expires

    def _role(self, claims: Mapping[str, Any]) -> Role:
        """The highest of those it gives. Raises InsufficientScope."""
        given = _claim(claims, self.roles_claim)
        values = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
        # As a whole, too: the name of a group may have spaces.
        found = {self.roles[value] for value in (*values, given) if isinstance(value, str) and value in self.roles}
        role = next((role for role in BY_RANK if role in found), None)
        if role is None:
            raise InsufficientScope("The access token gives no role here.")
        return role

    def _tenant(self, claims: Mapping[str, Any]) -> str | None:
        """None for every tenant. Where tokens name theirs, one that forgets to is nobody's. Raises Refused."""
        if not self.tenant_claim:
            return None
        given = _claim(claims, self.tenant_claim)
        if isinstance(given, list) and len(given) == 1:
            given = given[0]
        if given == _EVERY_TENANT:
            return None
        if not isinstance(given, str) or _TENANT.fullmatch(given) is None:
            raise Refused("no tenant")
        return given


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """None where there is none."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    """None where there is none. Raises Refused for what is no number: JSON's own, not Python's."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Refused(f"{name} is no time")
    return float(value)


def _name(claims: Mapping[str, Any]) -> str | None:
    """What people call the caller, as far as it is fit to be read."""
    found = (claims.get(name) for name in _NAMES)
    return next((name for name in found if isinstance(name, str) and name.strip() and name.isprintable()), None)


def not_valid() -> InvalidCredentials:
    return InvalidCredentials("The access token is not valid.")
