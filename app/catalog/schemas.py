"""The catalogue on the wire."""

from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from app.catalog.model import Feature, Tier


def _text(value: str) -> str:
    if any((ord(character) < 32 and character != "\n") or ord(character) == 127 for character in value):
        raise ValueError("must not contain control characters")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must not contain half a surrogate pair")
    return value


TierName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,19}$")]
FeatureName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Description = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_text)]

_FEATURE: Final[dict[str, Any]] = {
    "description": "Forecasts by AI models",
    "tier": "premium",
    "enabled_by_default": False,
    "requires": ["advanced_forecasting"],
}
_TIER: Final[dict[str, Any]] = {"description": "Analysis on top of it", "rank": 30}


class FeatureIn(BaseModel):
    """A feature of the catalogue, whole: what is left out is as if it was never said."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_FEATURE]})

    description: Description = ""
    tier: TierName | None = Field(None, description="The lowest tier that includes it; null: none does")
    enabled_by_default: bool = Field(False, description="Every tenant has it, whatever its tier")
    requires: list[FeatureName] = Field([], max_length=50, description="Features it cannot do without")

    def feature(self, name: str) -> Feature:
        return Feature(
            name=name,
            description=self.description,
            tier=self.tier,
            enabled_by_default=self.enabled_by_default,
            requires=tuple(dict.fromkeys(self.requires)),
        )


class CatalogFeature(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "ai_forecasting", **_FEATURE}]})

    name: str
    description: str
    tier: str | None = Field(description="The lowest tier that includes it; null: none does")
    enabled_by_default: bool
    requires: list[str] = Field(description="Features it cannot do without")

    @classmethod
    def of(cls, feature: Feature) -> Self:
        return cls(
            name=feature.name,
            description=feature.description,
            tier=feature.tier,
            enabled_by_default=feature.enabled_by_default,
            requires=list(feature.requires),
        )


class CatalogFeatures(BaseModel):
    items: list[CatalogFeature]


class TierIn(BaseModel):
    """A tier of the catalogue, whole."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_TIER]})

    description: Description = ""
    rank: int = Field(ge=-(2**31), lt=2**31, description="A tier includes what those of a lower rank include")

    def tier(self, name: str) -> Tier:
        return Tier(name=name, description=self.description, rank=self.rank)


class CatalogTier(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "professional", **_TIER}]})

    name: str
    description: str
    rank: int = Field(description="A tier includes what those of a lower rank include")

    @classmethod
    def of(cls, tier: Tier) -> Self:
        return cls(name=tier.name, description=tier.description, rank=tier.rank)


class CatalogTiers(BaseModel):
    items: list[CatalogTier]


def checked_name(model: type[BaseModel], name: str) -> str:
    """Of what `model` is the body of. Raises ValidationError, located nowhere."""
    kind: TypeAdapter[str] = TypeAdapter(TierName if model is TierIn else FeatureName)
    return kind.validate_python(name)
