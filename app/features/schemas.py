"""The features of a tenant on the wire."""

from collections.abc import Iterable
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from app.features.model import Source, TenantFeature

EXAMPLE: Final[dict[str, Any]] = {
    "name": "ai_forecasting",
    "enabled": True,
    "source": "tenant",
    "known": True,
    "requires": ["advanced_forecasting"],
    "missing": [],
}


class FeatureOut(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    name: str
    enabled: bool
    source: Source = Field(description="What decides: the catalogue's default, the tier, or the tenant's own choice")
    known: bool = Field(description="False: plain SQL put it there, and the catalogue does not have it")
    requires: list[str] = Field(description="Features it cannot do without")
    missing: list[str] = Field(description="Those of them that are not enabled, where this one is")


class FeaturesOut(BaseModel):
    """Every feature of the catalogue, and those that only this tenant has, by name; none until there is a schema."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"features": [EXAMPLE]}]})

    features: list[FeatureOut]

    @classmethod
    def of(cls, features: Iterable[TenantFeature]) -> Self:
        every = list(features)
        enabled = {feature.name for feature in every if feature.enabled}
        return cls(
            features=[
                FeatureOut(
                    name=feature.name,
                    enabled=feature.enabled,
                    source=feature.source,
                    known=feature.known,
                    requires=list(feature.requires),
                    missing=[name for name in feature.requires if feature.enabled and name not in enabled],
                )
                for feature in every
            ]
        )


class FeatureOverride(BaseModel):
    """The tenant's own choice, whatever its tier includes."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"enabled": True}]})

    enabled: bool
