"""Who is signed in. Pure."""

from dataclasses import dataclass
from datetime import timedelta

from app.roles import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What the API would know of the same caller: a session gives nobody another name, or more."""

    actor: str
    name: str
    role: Role
    tenant_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """How long a session lasts that nobody uses, and that somebody does."""

    idle: timedelta
    longest: timedelta
