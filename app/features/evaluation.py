"""A tenant's features as the OpenFeature remote evaluation protocol (OFREP) tells them. Pure."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from app.features.model import Source, TenantFeature

# https://openfeature.dev/specification/types#resolution-reason
_REASONS: Final[dict[Source, str]] = {"default": "DEFAULT", "tier": "TARGETING_MATCH", "tenant": "TARGETING_MATCH"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """`each` holds the answers for single flags, `all` the one for all of them."""

    each: dict[str, bytes]
    all: bytes


def flags_of(features: Iterable[TenantFeature]) -> Flags:
    flags = [_flag(feature) for feature in features]
    return Flags(each={flag["key"]: _json(flag) for flag in flags}, all=_json({"flags": flags}))


def _flag(feature: TenantFeature) -> dict[str, Any]:
    return {
        "key": feature.name,
        "value": feature.enabled,
        "reason": _REASONS[feature.source],
        "variant": "on" if feature.enabled else "off",
        "metadata": {"source": feature.source, "known": feature.known},
    }


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
