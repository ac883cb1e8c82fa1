"""The features of a tenant, and which may be on without which. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

# What decides: the catalogue's default, the tenant's tier, or the tenant itself.
Source = Literal["default", "tier", "tenant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantFeature:
    """Not `known`: plain SQL put it there, and the catalogue does not have it."""

    name: str
    enabled: bool
    source: Source
    known: bool
    requires: tuple[str, ...]


def missing(features: Iterable[TenantFeature]) -> dict[str, list[str]]:
    """What enabled features require and the tenant does not have, by feature."""
    every = list(features)
    enabled = {feature.name for feature in every if feature.enabled}
    found = {f.name: [name for name in f.requires if name not in enabled] for f in every if f.enabled}
    return {name: names for name, names in found.items() if names}
