"""The files that deploy the service, as data."""

import re
from pathlib import Path
from typing import Any, Final, get_args

import yaml
from pydantic import SecretStr

from app.settings import Settings

ROOT: Final = Path(__file__).parents[2]
COMPOSE_DIR: Final = ROOT / "deploy" / "compose"
KUBERNETES: Final = ROOT / "deploy" / "kubernetes"


def documents(path: Path) -> list[dict[str, Any]]:
    """Each document of a YAML file."""
    return list(yaml.safe_load_all(path.read_text()))


def compose() -> dict[str, Any]:
    """docker-compose.yml with its anchors resolved."""
    (document,) = documents(ROOT / "docker-compose.yml")
    return document


def secret_variables() -> set[str]:
    return {
        str(field.validation_alias or f"BF_{name.upper()}")
        for name, field in Settings.model_fields.items()
        if SecretStr in (field.annotation, *get_args(field.annotation))
    }


def variables() -> set[str]:
    """Every variable that the service reads."""
    known = {str(field.validation_alias or f"BF_{name.upper()}") for name, field in Settings.model_fields.items()}
    return known | {f"{name}_FILE" for name in secret_variables()}


def seconds(duration: str) -> int:
    """Of `30s` or `2m`, as compose writes durations."""
    number, unit = re.fullmatch(r"(\d+)([sm])", duration).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "m": 60}[unit]
