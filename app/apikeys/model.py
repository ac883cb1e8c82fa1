"""API keys. Pure."""

from dataclasses import dataclass
from datetime import datetime

from app.roles import Role as Role


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """`secret_hash` is what a secret is compared with; the key itself is kept nowhere.

    `seconds_left` is by the database's clock, None for ever; `replaces` the key that was rotated into this one.
    """

    id: str
    name: str
    role: Role
    tenant_id: str | None
    secret_hash: bytes
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    replaces: str | None
    seconds_left: float | None
    usable: bool
