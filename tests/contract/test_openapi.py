"""openapi.json is what the application generates, and holds together."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.http.auth import api_routes
from app.main import create_app
from app.settings import Settings

_COMMITTED = Path(__file__).parents[2] / "openapi.json"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


def test_the_committed_document_is_what_the_code_generates(document: dict[str, Any]) -> None:
    assert json.loads(_COMMITTED.read_text()) == json.loads(json.dumps(document)), "run: make openapi"


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    for reference in _references(document):
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in node, f"{reference} leads nowhere"
            node = node[part]


def test_every_route_is_documented_with_its_failures(document: dict[str, Any]) -> None:
    shown = [route for route in api_routes(create_app(Settings())) if route.include_in_schema]
    assert len(shown) == sum(len(operations) for operations in document["paths"].values())
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path.startswith("/v1/"):
                assert {"401", "403", "503"} <= set(operation["responses"]), f"{method} {path}"


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
