"""Tenants on the wire."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.catalog.schemas import FeatureName, TierName
from app.config.model import LIMIT_COLUMNS, TenantSettings
from app.config.schemas import ConfigIn, ConfigOut
from app.features.model import TenantFeature
from app.features.schemas import EXAMPLE as FEATURE_EXAMPLE
from app.features.schemas import FeatureOut, FeaturesOut
from app.health.tenant_schemas import VERDICT_EXAMPLE, TenantVerdict
from app.http.values import printable
from app.integrations.request import Rules
from app.integrations.schemas import IntegrationsIn
from app.limits.model import is_limit_name
from app.limits.schemas import Number
from app.operations.schemas import ProblemOut
from app.registry import model
from app.registry.model import State, Tenant, TenantRequest


def _tenant_id(value: str) -> str:
    return model.tenant_id(value)


Name = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(printable)]
SearchedFor = Annotated[str, StringConstraints(min_length=3, max_length=255, pattern=r"^[^\x00-\x1f]+$")]
NewTenantId = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9_]{1,35}$"),
    AfterValidator(_tenant_id),
]
BillingContact = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(printable)]
User = Annotated[str, StringConstraints(min_length=1, max_length=36), AfterValidator(printable)]

_NO_RULES: Final = Rules()


class LimitsIn(BaseModel):
    """Limits of the tenant's own: these, and whatever the catalogue has besides."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Number]

    max_budget_lines: int | None = Field(None, ge=0, le=1_000_000_000)
    forecast_horizon_limit: int | None = Field(None, ge=1, le=120, description="Months")
    concurrent_users_limit: int | None = Field(None, ge=0, le=1_000_000)
    max_budgets: int | None = Field(None, ge=0, le=1_000_000_000)
    max_forecasts: int | None = Field(None, ge=0, le=1_000_000_000)
    max_scenarios: int | None = Field(None, ge=0, le=1_000_000_000)
    max_forecast_horizon: int | None = Field(None, ge=1, le=120, description="Months")
    storage_mb: int | None = Field(None, ge=0, le=1_000_000_000)

    @model_validator(mode="after")
    def _named(self) -> Self:
        """Whether there is such a limit is asked of the catalogue."""
        if not all(map(is_limit_name, self.__pydantic_extra__)):
            raise ValueError("has a member that is named like no limit")
        return self


class TenantFields(BaseModel):
    """A creation request but for the id: a tenant is configured in the transaction that creates it."""

    model_config = ConfigDict(extra="forbid")

    tenant_name: Name
    created_by: User | None = Field(None, description="By default the name of the API key, cut to 36 characters")
    subscription_tier: TierName = "standard"
    billing_contact: BillingContact | None = None
    features_enabled: list[FeatureName] | None = Field(
        None, max_length=200, description="Just these, whatever the tier includes; by default what the tier includes"
    )
    limits: LimitsIn | None = None
    config: ConfigIn | None = None
    integrations: IntegrationsIn | None = None

    def request(self, tenant_id: str, *, caller: str, integrations: Rules = _NO_RULES) -> TenantRequest:
        """`caller` is who created it where the request names nobody. Raises as Rules.apply() does."""
        created_by = self.created_by or caller[:36]
        request = TenantRequest(
            tenant_id=model.tenant_id(tenant_id),
            tenant_name=self.tenant_name,
            created_by=created_by,
            subscription_tier=self.subscription_tier,
            config=self._columns(),
            document={
                **self.model_dump(mode="json", exclude_none=True, exclude={"integrations"}),
                "tenant_id": tenant_id,
            },
        )
        return request if self.integrations is None else integrations.apply(request, self.integrations.changes())

    def _columns(self) -> dict[str, Any]:
        """tenant_config columns and their values, as configure_tenant() takes them."""
        columns: dict[str, Any] = {}
        if self.config is not None:
            columns |= self.config.values()
        if self.limits is not None:
            limits = self.limits.model_dump(exclude_none=True)
            columns |= {name: value for name, value in limits.items() if name in LIMIT_COLUMNS}
            others = {name: value for name, value in limits.items() if name not in LIMIT_COLUMNS}
            columns |= {"usage_limits": others} if others else {}
        if self.features_enabled is not None:
            columns["features_enabled"] = list(dict.fromkeys(self.features_enabled))
        if self.billing_contact is not None:
            columns["billing_contact"] = self.billing_contact
        return columns


class TenantIn(TenantFields):
    """A creation request."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"tenant_id": "acme_corp", "tenant_name": "ACME Corporation"},
                {
                    "tenant_id": "global_inc",
                    "tenant_name": "Global Inc",
                    "created_by": "admin_user_123",
                    "subscription_tier": "standard",
                    "features_enabled": ["advanced_forecasting", "ai_insights"],
                    "limits": {"max_budget_lines": 500000, "max_budgets": 500},
                    "config": {"default_currency": "EUR", "time_zone": "Europe/Berlin"},
                },
            ]
        },
    )

    tenant_id: NewTenantId


class TenantPut(TenantFields):
    """A creation request to the path that names the tenant."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"tenant_name": "ACME Corporation", "created_by": "me"}]}
    )

    tenant_id: NewTenantId | None = Field(None, description="As in the path, if at all")


class TenantPatch(BaseModel):
    """JSON Merge Patch (RFC 7396): what is absent stays; null clears the billing contact."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"tenant_name": "ACME Worldwide", "billing_contact": "billing@acme.example"}]},
    )

    # Neither can be null, and what is absent is not looked at: the factories only keep a default out of the document.
    tenant_name: Name = Field(default_factory=str)
    subscription_tier: TierName = Field(default_factory=str)
    billing_contact: BillingContact | None = None

    def changes(self) -> dict[str, Any]:
        """What the client sent, and nothing else."""
        return self.model_dump(exclude_unset=True)


_EXAMPLE: Final[dict[str, Any]] = {
    "tenant_id": "acme_corp",
    "tenant_name": "ACME Corporation",
    "state": "active",
    "is_active": True,
    "schema_name": "bf_acme_corp",
    "schema_version": 1,
    "subscription_tier": "standard",
    "billing_contact": "billing@acme.example",
    "generation": 1,
    "created_at": "2026-01-31T09:30:00.000000Z",
    "updated_at": "2026-01-31T09:30:00.074000Z",
    "created_by": "admin_user_123",
    "last_operation": "/v1/operations/0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e11",
    "error": None,
    "state_reason": None,
    "state_changed_at": None,
    "state_changed_by": None,
    "purge_time": None,
}


class TenantOut(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    tenant_id: str
    tenant_name: str
    state: State
    is_active: bool
    schema_name: str
    schema_version: int | None = Field(description="Null until there is a schema")
    subscription_tier: str
    billing_contact: str | None
    generation: int = Field(description="Counts the tenants that have had this id")
    created_at: datetime
    updated_at: datetime
    created_by: str
    last_operation: str | None = Field(description="Path of the operation that last changed it")
    error: ProblemOut | None = Field(
        None, description="Why, while the state is failed; of a deleted tenant, why its purge failed"
    )
    state_reason: str | None = Field(None, description="Why it was suspended, resumed, deleted or restored last")
    state_changed_at: datetime | None = Field(None, description="When that was")
    state_changed_by: str | None = Field(None, description="And by whom")
    purge_time: datetime | None = Field(None, description="Until then a deleted tenant is kept")

    @classmethod
    def of(cls, tenant: Tenant) -> Self:
        operation = tenant.last_operation_id
        return cls(
            tenant_id=tenant.tenant_id,
            tenant_name=tenant.tenant_name,
            state=tenant.state,
            is_active=tenant.is_active,
            schema_name=tenant.schema_name,
            schema_version=tenant.schema_version,
            subscription_tier=tenant.subscription_tier,
            billing_contact=tenant.billing_contact,
            generation=tenant.generation,
            created_at=tenant.created_at,
            updated_at=tenant.updated_at,
            created_by=tenant.created_by,
            last_operation=None if operation is None else f"/v1/operations/{operation}",
            error=None if tenant.error is None else ProblemOut(**tenant.error),
            state_reason=tenant.state_reason,
            state_changed_at=tenant.state_changed_at,
            state_changed_by=tenant.state_changed_by,
            purge_time=tenant.purge_time,
        )


class TenantFull(TenantOut):
    """Everything about one tenant; what is kept in its configuration is null until there is a schema."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_EXAMPLE,
                    "config": None,
                    "features": [FEATURE_EXAMPLE],
                    "limits": {"max_budget_lines": 100000, "forecast_horizon_limit": 60, "max_budgets": 500},
                    "integrations": {},
                    "health": VERDICT_EXAMPLE,
                }
            ]
        }
    )

    config: ConfigOut | None
    features: list[FeatureOut] | None = Field(description="Those that are enabled")
    limits: dict[str, Any] | None = Field(description="Values by name, as tenant_config has them")
    integrations: dict[str, Any] | None
    health: TenantVerdict

    @classmethod
    def whole(
        cls, tenant: Tenant, settings: TenantSettings | None, features: list[TenantFeature], health: TenantVerdict
    ) -> Self:
        known: dict[str, Any] = dict.fromkeys(("config", "features", "limits", "integrations"))
        if settings is not None:
            known = {
                "config": ConfigOut.of(settings),
                "features": [f for f in FeaturesOut.of(features).features if f.enabled],
                "limits": settings.limits,
                "integrations": settings.integrations,
            }
        return cls(**dict(TenantOut.of(tenant)), **known, health=health)


class TenantPage(BaseModel):
    items: list[TenantOut]
    next_page_token: str | None = Field(None, description="Absent on the last page")


OrderBy = Literal["id", "-id", "name", "-name", "created_at", "-created_at"]
