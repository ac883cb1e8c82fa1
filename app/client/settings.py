"""What is configured of a tenant, as the service answers: configuration, features, limits, integrations."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

from pydantic import Field

from app.client._model import FieldError, Model


class IntegrationSettings(TypedDict, total=False):
    """What of these a capability has is the service's to say."""

    enabled: bool
    endpoint: str | None
    realm: str | None
    level: str | None
    models: Sequence[str] | None


class Configuration(Model):
    """`etag` is what `if_match` takes."""

    budget_features: dict[str, Any]
    forecast_features: dict[str, Any]
    analytics_features: dict[str, Any]
    external_systems: dict[str, Any]
    fiscal_year_start: str
    default_currency: str
    time_zone: str
    department_hierarchy: dict[str, Any]
    cost_centers: list[Any]
    approval_workflows: dict[str, Any]
    data_retention_days: int
    encryption_enabled: bool
    audit_level: str
    etag: str | None = Field(None, exclude=True)

    @property
    def document(self) -> dict[str, Any]:
        """What replace() takes."""
        return self.model_dump(mode="json")


class Difference(Model):
    """`before` or `after` is not among `model_fields_set` where there was or is no such value."""

    pointer: str
    before: Any = None
    after: Any = None


class ConfigVersion(Model):
    """`source` is `api` or `sql`; `restored_version` is what a rollback went back to."""

    version: int
    changed_at: datetime
    by: str
    database_user: str
    source: str
    documents: tuple[str, ...]
    reason: str | None
    restored_version: int | None
    difference: tuple[Difference, ...]


class Feature(Model):
    """`source` is `default`, `tier` or `tenant`. Of what it `requires`, `missing` is not enabled, though it is.

    Not `known`: plain SQL put it there, and the catalogue does not have it.
    """

    name: str
    enabled: bool
    source: str
    known: bool = True
    requires: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class Features(Model):
    """What a tenant may use, and may not; `etag` is what `if_match` takes."""

    features: tuple[Feature, ...]
    etag: str | None = Field(None, exclude=True)

    @property
    def enabled(self) -> frozenset[str]:
        return frozenset(feature.name for feature in self.features if feature.enabled)


class CatalogFeature(Model):
    """`tier` is the lowest one that includes it, None where none does."""

    name: str
    description: str
    tier: str | None
    enabled_by_default: bool
    requires: tuple[str, ...]
    etag: str | None = Field(None, exclude=True)


class CatalogFeatures(Model):
    items: tuple[CatalogFeature, ...]


class CatalogTier(Model):
    """It includes what tiers of a lower `rank` include."""

    name: str
    description: str
    rank: int
    etag: str | None = Field(None, exclude=True)


class CatalogTiers(Model):
    items: tuple[CatalogTier, ...]


class Limits(Model):
    """A tenant's limits: the value that holds, None for no limit, is in `values`, and where it comes from in `sources`.

    `exceeded`, of an answer to a change: of which more is used already.
    """

    max_budget_lines: int
    forecast_horizon_limit: int
    concurrent_users_limit: int
    sources: dict[str, str]
    exceeded: tuple[str, ...] = ()
    etag: str | None = Field(None, exclude=True)

    @property
    def values(self) -> dict[str, int | None]:
        return {name: getattr(self, name, None) for name in self.sources}


class Limit(Model):
    """One of the catalogue. `default` is None for no limit; `enforcement` is `off`, `warn` or `enforce`."""

    name: str
    description: str
    unit: str
    minimum: int
    maximum: int
    default: int | None
    tiers: dict[str, int]
    enforcement: str
    etag: str | None = Field(None, exclude=True)


class Usage(Model):
    """`used` is None for what the database does not see, `allowed` for no limit."""

    name: str
    unit: str
    used: int | None
    allowed: int | None
    percentage: float | None
    enforcement: str
    method: str | None
    measured_at: datetime | None


class UsageEvent(Model):
    name: str
    percentage: int
    used: int
    allowed: int
    occurred_at: datetime


class TenantUsage(Model):
    usage: tuple[Usage, ...]
    events: tuple[UsageEvent, ...]


class Credential(Model):
    """Never what it is; `set_at` is when it was given its present value."""

    set: bool
    set_at: datetime | None = None
    set_by: str | None = None


class Integration(Model):
    """`stored` is the document as SQL wrote it, where that is not `valid`, for the reasons in `errors`."""

    capability: str
    enabled: bool | None
    endpoint: str | None
    realm: str | None = None
    level: str | None = None
    models: list[str] | None = None
    credentials: dict[str, Credential]
    valid: bool
    errors: tuple[FieldError, ...] = ()
    stored: Any = None
    etag: str | None = Field(None, exclude=True)


class IntegrationList(Model):
    items: tuple[Integration, ...]


class CheckError(Model):
    code: str
    detail: str


class IntegrationCheck(Model):
    """`status` is HTTP's, None where nothing answered."""

    ok: bool
    status: int | None
    latency_ms: float
    checked_at: datetime
    error: CheckError | None = None


class Webhook(Model):
    """`event_types`: none of them means every one. `capability` is the integration that it stands for."""

    id: UUID
    url: str
    description: str
    event_types: tuple[str, ...]
    tenant_id: str | None
    capability: str | None
    created_at: datetime
    created_by: str
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None
    etag: str | None = Field(None, exclude=True)


class IssuedWebhook(Webhook):
    """`secret` is shown once; None in the answer to a repeated call."""

    secret: str | None = Field(repr=False)


class DeliveryFault(Model):
    code: str
    detail: str


class Delivery(Model):
    """One event for one webhook; `event_id` is the same at every try. `status` is `pending`, `delivered` or `dead`."""

    id: UUID
    event_id: UUID
    event_type: str
    subject: str
    occurred_at: datetime
    status: str
    attempts: int
    queued_at: datetime
    attempted_at: datetime | None
    next_attempt_at: datetime | None
    latency_ms: float | None
    response_status: int | None
    response_body: str | None
    error: DeliveryFault | None


class Replayed(Model):
    """`next_since`, where there are more: what to ask for next."""

    replayed: int
    next_since: datetime | None
