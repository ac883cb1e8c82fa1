"""A request before it is sent: what is asked, and until when. Pure."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self
from urllib.parse import quote
from uuid import UUID, uuid4

from pydantic_core import to_json

from app.client.errors import ConfigurationError
from app.client.models import Operation, OperationRef

# The service waits no longer than this, whatever is preferred.
_LONGEST_PREFERENCE: Final = 30
_IDEMPOTENT: Final = frozenset({"GET", "PUT", "DELETE"})
MERGE_PATCH: Final = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment of the monotonic clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds; below zero once it has passed."""
        return self.at - time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`wait` is until when the service may hold back its answer for the work to end."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    wait: Deadline | None = None

    @property
    def idempotency_key(self) -> str | None:
        return self.headers.get("Idempotency-Key")

    @property
    def repeatable(self) -> bool:
        """Sent twice, it does nothing twice."""
        return self.method in _IDEMPOTENT or not self.headers.keys().isdisjoint({"Idempotency-Key", "If-Match"})

    def dry(self, *, if_match: str | None) -> Self:
        """The same change, only asked about, of the document with this etag."""
        headers = self.headers if if_match is None else {**self.headers, "If-Match": if_match}
        return replace(self, params={**self.params, "validate_only": "true"}, headers=headers)

    @property
    def preferred_wait(self) -> int:
        """Whole seconds from now; 0 where there is nothing to wait for."""
        return 0 if self.wait is None else max(0, min(_LONGEST_PREFERENCE, int(self.wait.left)))


def get(path: str, query: Mapping[str, object] | None = None, *, headers: Mapping[str, str] | None = None) -> Call:
    """What is None in `query` is not asked for."""
    params = {name: str(value) for name, value in (query or {}).items() if value is not None}
    return Call(method="GET", path=path, params=params, headers=headers or {})


def post(
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    key: str | None,
    validate_only: bool = False,
    wait: Deadline | None = None,
    if_match: str | None = None,
) -> Call:
    """Without a `key` it gets one of its own, the same for all its tries."""
    headers = {"Idempotency-Key": key or uuid4().hex} | ({} if if_match is None else {"If-Match": if_match})
    return _change("POST", path, body, headers=headers, validate_only=validate_only, wait=wait)


def put(
    path: str, body: Mapping[str, Any], *, validate_only: bool, wait: Deadline | None, if_match: str | None = None
) -> Call:
    headers = {} if if_match is None else {"If-Match": if_match}
    return _change("PUT", path, body, headers=headers, validate_only=validate_only, wait=wait)


def patch(path: str, body: Mapping[str, Any], *, if_match: str | None, validate_only: bool) -> Call:
    headers = {"Content-Type": MERGE_PATCH} | ({} if if_match is None else {"If-Match": if_match})
    return _change("PATCH", path, body, headers=headers, validate_only=validate_only, wait=None)


def delete(
    path: str,
    query: Mapping[str, object] | None = None,
    *,
    if_match: str | None = None,
    validate_only: bool = False,
    wait: Deadline | None = None,
) -> Call:
    """What is None in `query` is left out."""
    params = {name: str(value) for name, value in (query or {}).items() if value is not None}
    params |= {"validate_only": "true"} if validate_only else {}
    headers = {} if if_match is None else {"If-Match": if_match}
    return Call(method="DELETE", path=path, params=params, headers=headers, wait=wait)


def patch_all(
    path: str, query: Mapping[str, object], body: Mapping[str, Any], *, validate_only: bool, wait: Deadline | None
) -> Call:
    """Of all that fit the query."""
    call = _change("PATCH", path, body, headers={"Content-Type": MERGE_PATCH}, validate_only=validate_only, wait=wait)
    asked = {name: str(value) for name, value in query.items() if value is not None}
    return replace(call, params={**call.params, **asked})


def _change(
    method: str,
    path: str,
    body: Mapping[str, Any] | None,
    *,
    headers: Mapping[str, str],
    validate_only: bool,
    wait: Deadline | None,
) -> Call:
    # A number that JSON has not is written as it is, for the service to refuse: null would be another request.
    content = None if body is None else to_json(body, inf_nan_mode="constants")
    return Call(
        method=method,
        path=path,
        params={"validate_only": "true"} if validate_only else {},
        headers=headers if body is None else {"Content-Type": "application/json", **headers},
        content=content,
        wait=None if validate_only else wait,
    )


def tenant_path(tenant_id: str) -> str:
    return f"/v1/tenants/{_segment(tenant_id)}"


def features_path(tenant_id: str) -> str:
    return f"{tenant_path(tenant_id)}/features"


def feature_path(tenant_id: str, name: str) -> str:
    return f"{features_path(tenant_id)}/{_segment(name)}"


def catalog_path(kind: str, name: str) -> str:
    return f"/v1/catalog/{kind}/{_segment(name)}"


def integration_path(tenant_id: str, capability: str) -> str:
    return f"{tenant_path(tenant_id)}/integrations/{_segment(capability)}"


def api_key_path(key_id: str) -> str:
    return f"/v1/api-keys/{_segment(key_id)}"


def limit_path(name: str) -> str:
    return f"/v1/catalog/limits/{_segment(name)}"


def webhook_path(webhook_id: UUID | str) -> str:
    return f"/v1/webhooks/{_segment(str(webhook_id))}"


def operation_path(operation: OperationRef) -> str:
    return f"/v1/operations/{_segment(str(operation.id if isinstance(operation, Operation) else operation))}"


def plan_path(plan_id: UUID | str) -> str:
    return f"/v1/plans/{_segment(str(plan_id))}"


def _segment(value: str) -> str:
    """Raises ConfigurationError for what would make it another path."""
    if value in {"", ".", ".."}:
        raise ConfigurationError(f"{value!r} is no id.")
    return quote(value, safe="")
