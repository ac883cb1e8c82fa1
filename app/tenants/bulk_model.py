"""Changes of many tenants. Pure."""

from dataclasses import dataclass
from typing import Any, Literal, Self

Status = Literal["pending", "changed", "unchanged", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What each tenant is to get: `features` and `limits` are its own from then on, or, None, its tier's again."""

    subscription_tier: str | None
    features: dict[str, bool | None]
    limits: dict[str, int | None]

    def as_json(self) -> dict[str, Any]:
        return {"subscription_tier": self.subscription_tier, "features": self.features, "limits": self.limits}

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Self:
        return cls(subscription_tier=stored["subscription_tier"], features=stored["features"], limits=stored["limits"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What became of one tenant, or would; `problem` is that of a refusal (RFC 9457)."""

    tenant_id: str
    status: Status
    problem: dict[str, Any] | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
