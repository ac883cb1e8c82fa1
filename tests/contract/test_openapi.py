"""openapi.json is what the application generates, and holds together."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.http.auth import api_routes
from app.main import create_app
from app.settings import Settings
from tests.support.api import Api

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


def test_every_example_is_valid(document: dict[str, Any]) -> None:
    checked = 0
    for name, schema in document["components"]["schemas"].items():
        validator = Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})
        for example in schema.get("examples", ()):
            assert not [error.message for error in validator.iter_errors(example)], name
            checked += 1
    for operation in _operations(document).values():
        for parameter in operation.get("parameters", ()):
            given = [parameter["example"]] if "example" in parameter else parameter["schema"].get("examples", ())
            for example in given:
                Draft202012Validator({**parameter["schema"], "components": document["components"]}).validate(example)
                checked += 1
    assert checked > 15


def test_every_operation_can_be_named_grouped_and_read_about(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    names = []
    for where, operation in _operations(document).items():
        assert operation["summary"], where
        assert set(operation["tags"]) <= tags, where
        names.append(operation["operationId"])
        for parameter in operation.get("parameters", ()):
            assert "null" not in json.dumps(parameter["schema"]), (
                f"{where}: {parameter['name']} is not null if left out"
            )
    assert len(names) == len(set(names))
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", name) for name in names)


def test_links_lead_from_what_starts_work_to_following_it(document: dict[str, Any]) -> None:
    named = {operation["operationId"]: operation for operation in _operations(document).values()}
    followed = set()
    for where, operation in _operations(document).items():
        for status, response in operation["responses"].items():
            for link in response.get("links", {}).values():
                wanted = {p["name"] for p in named[link["operationId"]]["parameters"]}
                assert set(link["parameters"]) <= wanted, where
                followed.add(link["operationId"])
            if status == "202":
                assert {"get", "events", "cancel"} <= set(response["links"]), where
                assert {"Location", "Operation-Location", "Retry-After"} <= set(response["headers"]), where
    assert {"get_operation", "stream_operation_events", "cancel_operation", "get_tenant"} <= followed


def _operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method} {path}": operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


async def test_the_served_document_is_the_same_however_often_it_is_asked_for(idle_api: Api) -> None:
    first, second = await idle_api.client.get("/openapi.json"), await idle_api.client.get("/openapi.json")
    assert first.json() == second.json() == json.loads(_COMMITTED.read_text())
