"""What there is to choose from, and which choices go together. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from app.catalog.nearest import unknown
from app.errors import FieldError


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """It includes what tiers of a lower rank include."""

    name: str
    description: str
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """`tier` is the lowest one that includes it, None where none does; `requires` names other features."""

    name: str
    description: str
    tier: str | None
    enabled_by_default: bool
    requires: tuple[str, ...]


def wrong_feature(wanted: Feature, features: Iterable[Feature], tiers: Iterable[Tier]) -> list[FieldError]:
    """What is wrong with a feature that takes its place among the others of the catalogue."""
    known = {feature.name: feature for feature in features} | {wanted.name: wanted}
    ranks = {tier.name: tier.rank for tier in tiers}
    errors = []
    if wanted.tier is not None and wanted.tier not in ranks:
        errors.append(FieldError(pointer="/tier", detail=unknown(wanted.tier, ranks)))
    for position, name in enumerate(wanted.requires):
        if name not in known:
            errors.append(FieldError(pointer=f"/requires/{position}", detail=unknown(name, known)))
    if errors:
        return errors
    circle = _circle(known)
    if circle:
        return [FieldError(pointer="/requires", detail=f"goes round in a circle: {' requires '.join(circle)}")]
    return [
        FieldError(pointer="/requires" if wanted is feature else "/tier", detail=fault)
        for feature, fault in _out_of_reach(known, ranks)
        if wanted.name == feature.name or wanted.name in feature.requires
    ]


def wrong_tier_rank(wanted: Tier, features: Iterable[Feature], tiers: Iterable[Tier]) -> list[FieldError]:
    """Where the tier's rank would part features from what they require."""
    ranks = {tier.name: tier.rank for tier in tiers} | {wanted.name: wanted.rank}
    return [
        FieldError(pointer="/rank", detail=fault) for _, fault in _out_of_reach({f.name: f for f in features}, ranks)
    ]


def _circle(features: Mapping[str, Feature]) -> list[str]:
    try:
        TopologicalSorter({name: feature.requires for name, feature in features.items()}).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def _out_of_reach(features: Mapping[str, Feature], ranks: Mapping[str, int]) -> list[tuple[Feature, str]]:
    """Features that somebody would have without having what they require, and why."""
    faults = []
    for feature in features.values():
        for name in feature.requires:
            required = features.get(name)
            if required is None or required.enabled_by_default:
                continue
            if feature.enabled_by_default:
                faults.append((feature, f"{feature.name} is enabled by default, but {name}, which it requires, is not"))
            elif feature.tier is not None and _rank(required, ranks) > ranks.get(feature.tier, 0):
                faults.append(
                    (feature, f"tier {feature.tier} includes {feature.name}, but not {name}, which it requires")
                )
    return faults


def _rank(feature: Feature, ranks: Mapping[str, int]) -> float:
    return float("inf") if feature.tier is None else ranks.get(feature.tier, float("inf"))
