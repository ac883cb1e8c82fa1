"""client.tenants: many at once."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from app.client import _call
from app.client._answer import read
from app.client._call import Call, Deadline, operation_path
from app.client._sync.operations import Operations, succeeded
from app.client._sync.pages import Pages
from app.client._sync.transport import Transport
from app.client.models import (
    Batch,
    DeletionPlan,
    NewTenant,
    Operation,
    OperationRef,
    Page,
    Preview,
    Target,
    TenantOptions,
    TenantQuery,
)


class ManyTenants:
    def __init__(self, transport: Transport, operations: Operations) -> None:
        self._transport = transport
        self._operations = operations

    def batch(
        self, tenants: Sequence[NewTenant], *, validate_only: bool = False, idempotency_key: str | None = None
    ) -> Batch:
        """Up to 500 at once: what became of each is in its item, and one that is refused is no error of the others."""
        body = {"tenants": [given(tenant) for tenant in tenants]}
        call = _call.post("/v1/tenants/batch", body, key=idempotency_key, validate_only=validate_only)
        return read(self._transport.send(call), Batch)

    def preview_change(
        self,
        *,
        subscription_tier: str | None = None,
        features: Mapping[str, bool | None] | None = None,
        limits: Mapping[str, int | None] | None = None,
        **fitting: Unpack[TenantQuery],
    ) -> Preview:
        """What change_many() would do."""
        call = _change_many(subscription_tier, features, limits, fitting, validate_only=True, wait=None)
        return read(self._transport.send(call), Preview)

    def change_many(
        self,
        *,
        subscription_tier: str | None = None,
        features: Mapping[str, bool | None] | None = None,
        limits: Mapping[str, int | None] | None = None,
        wait: bool | float = True,
        **fitting: Unpack[TenantQuery],
    ) -> Operation:
        """Changes all tenants that fit: the operation, succeeded, or with `wait=False` as it stands. Its result counts
        those changed, unchanged and refused; targets() says which. A feature or limit that is None is left to the tier.

        Raises as operations.wait() does.
        """
        until = self._transport.times.wait(wait)
        call = _change_many(subscription_tier, features, limits, fitting, validate_only=False, wait=until)
        operation = self._operations.ended(self._transport.send(call), until)
        return operation if until is None else succeeded(operation)

    def plan_deletion(self, **fitting: Unpack[TenantQuery]) -> DeletionPlan:
        """Who fits and would be deleted, and the confirmation that delete_many() takes: for ten minutes, once."""
        call = _call.delete("/v1/tenants", _query(fitting))
        return read(self._transport.send(call), DeletionPlan)

    def delete_many(
        self,
        confirmation: str,
        *,
        reason: str | None = None,
        wait: bool | float = True,
        **fitting: Unpack[TenantQuery],
    ) -> Operation:
        """Deletes whom the confirmed plan names, with the same filters: the operation, succeeded, or with `wait=False`
        as it stands. Its result counts those deleted, unchanged and refused; targets() says which.

        Raises Conflict where the confirmation does not hold (any more), and as operations.wait() does.
        """
        until = self._transport.times.wait(wait)
        query = _query(fitting) | {"confirmation": confirmation, "reason": reason}
        call = _call.delete("/v1/tenants", query, wait=until)
        operation = self._operations.ended(self._transport.send(call), until)
        return operation if until is None else succeeded(operation)

    def targets(self, operation: OperationRef, *, status: str | None = None) -> Pages[Target]:
        """What became of each tenant of change_many() or delete_many(), by id."""
        return Pages(self._transport, f"{operation_path(operation)}/targets", Page[Target], {"status": status})


def given(options: TenantOptions | NewTenant) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _change_many(
    tier: str | None,
    features: Mapping[str, bool | None] | None,
    limits: Mapping[str, int | None] | None,
    fitting: TenantQuery,
    *,
    validate_only: bool,
    wait: Deadline | None,
) -> Call:
    body: dict[str, Any] = {} if tier is None else {"subscription_tier": tier}
    if features is not None:
        body["features"] = dict(features)
    if limits is not None:
        body["limits"] = dict(limits)
    return _call.patch_all("/v1/tenants", _query(fitting), body, validate_only=validate_only, wait=wait)


def _query(fitting: TenantQuery) -> dict[str, Any]:
    return {name: "true" if value is True else value for name, value in fitting.items() if value is not False}
