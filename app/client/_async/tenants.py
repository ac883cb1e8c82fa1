"""client.tenants: provision, read, change."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack, overload

import httpx

from app.client import _call
from app.client._answer import read
from app.client._async.operations import Operations, succeeded
from app.client._async.pages import Pages
from app.client._async.transport import Transport
from app.client._call import Call, Deadline, operation_path, tenant_path
from app.client.errors import PreconditionFailed
from app.client.models import (
    Batch,
    FullTenant,
    NewTenant,
    Operation,
    OperationRef,
    Page,
    Preview,
    Target,
    Tenant,
    TenantChanges,
    TenantOptions,
    TenantOrder,
    TenantQuery,
)


class Tenants:
    def __init__(self, transport: Transport, operations: Operations) -> None:
        self._transport = transport
        self._operations = operations

    @overload
    async def create(
        self,
        tenant_id: str,
        tenant_name: str,
        *,
        wait: Literal[False],
        idempotency_key: str | None = None,
        **options: Unpack[TenantOptions],
    ) -> Operation: ...

    @overload
    async def create(
        self,
        tenant_id: str,
        tenant_name: str,
        *,
        wait: Literal[True] | float = True,
        validate_only: bool = False,
        idempotency_key: str | None = None,
        **options: Unpack[TenantOptions],
    ) -> Tenant: ...

    async def create(
        self,
        tenant_id: str,
        tenant_name: str,
        *,
        wait: bool | float = True,
        validate_only: bool = False,
        idempotency_key: str | None = None,
        **options: Unpack[TenantOptions],
    ) -> Tenant | Operation:
        """The tenant, active; with `wait=False` the operation that makes it; with `validate_only` the tenant as it
        would be. `wait` is in seconds; True is the client's `wait_timeout`.

        Raises Conflict where there is one already, and as operations.wait() does.
        """
        until = self._transport.times.wait(wait)
        body = {"tenant_id": tenant_id, "tenant_name": tenant_name, **_given(options)}
        call = _call.post("/v1/tenants", body, key=idempotency_key, validate_only=validate_only, wait=until)
        response = await self._transport.send(call)
        if until is None and response.status_code == httpx.codes.CREATED:
            # Made on the spot, by an operation that was born succeeded.
            return await self._operations.get(response.headers["Operation-Location"].rpartition("/")[2])
        return await self._provisioned(tenant_id, response, until)

    async def batch(
        self, tenants: Sequence[NewTenant], *, validate_only: bool = False, idempotency_key: str | None = None
    ) -> Batch:
        """Up to 500 at once: what became of each is in its item, and one that is refused is no error of the others."""
        body = {"tenants": [_given(tenant) for tenant in tenants]}
        call = _call.post("/v1/tenants/batch", body, key=idempotency_key, validate_only=validate_only)
        return read(await self._transport.send(call), Batch)

    async def preview_change(
        self,
        *,
        subscription_tier: str | None = None,
        features: Mapping[str, bool | None] | None = None,
        **fitting: Unpack[TenantQuery],
    ) -> Preview:
        """What change_many() would do."""
        call = _change_many(subscription_tier, features, fitting, validate_only=True, wait=None)
        return read(await self._transport.send(call), Preview)

    async def change_many(
        self,
        *,
        subscription_tier: str | None = None,
        features: Mapping[str, bool | None] | None = None,
        wait: bool | float = True,
        **fitting: Unpack[TenantQuery],
    ) -> Operation:
        """Changes all tenants that fit: the operation, succeeded, or with `wait=False` as it stands. Its result counts
        those changed, unchanged and refused; targets() says which. A feature that is None is left to the tier again.

        Raises as operations.wait() does.
        """
        until = self._transport.times.wait(wait)
        call = _change_many(subscription_tier, features, fitting, validate_only=False, wait=until)
        operation = await self._operations.ended(await self._transport.send(call), until)
        return operation if until is None else succeeded(operation)

    def targets(self, operation: OperationRef, *, status: str | None = None) -> Pages[Target]:
        """What became of each tenant of change_many(), by id."""
        return Pages(self._transport, f"{operation_path(operation)}/targets", Page[Target], {"status": status})

    @overload
    async def put(
        self, tenant_id: str, tenant_name: str, *, wait: Literal[False], **options: Unpack[TenantOptions]
    ) -> Tenant | Operation: ...

    @overload
    async def put(
        self,
        tenant_id: str,
        tenant_name: str,
        *,
        wait: Literal[True] | float = True,
        validate_only: bool = False,
        **options: Unpack[TenantOptions],
    ) -> Tenant: ...

    async def put(
        self,
        tenant_id: str,
        tenant_name: str,
        *,
        wait: bool | float = True,
        validate_only: bool = False,
        **options: Unpack[TenantOptions],
    ) -> Tenant | Operation:
        """As create(), but a tenant that was made by this very request is returned as it is; with `wait=False` the
        operation, while one runs.

        Raises Conflict where another request made it.
        """
        until = self._transport.times.wait(wait)
        body = {"tenant_name": tenant_name, **_given(options)}
        call = _call.put(tenant_path(tenant_id), body, validate_only=validate_only, wait=until)
        return await self._provisioned(tenant_id, await self._transport.send(call), until)

    @overload
    async def get(self, tenant_id: str, *, view: Literal["basic"] = "basic") -> Tenant: ...

    @overload
    async def get(self, tenant_id: str, *, view: Literal["full"]) -> FullTenant: ...

    async def get(self, tenant_id: str, *, view: Literal["basic", "full"] = "basic") -> Tenant:
        """A failed tenant is returned, with its error."""
        if view == "full":
            return read(await self._transport.send(_call.get(tenant_path(tenant_id), {"view": view})), FullTenant)
        return read(await self._transport.send(_call.get(tenant_path(tenant_id))), Tenant)

    def list(
        self,
        *,
        state: str | None = None,
        tier: str | None = None,
        feature: str | None = None,
        schema_version: int | None = None,
        q: str | None = None,
        order_by: TenantOrder | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
    ) -> Pages[Tenant]:
        """By id, unless `order_by` says otherwise. `q` is a part of id or name; deleted ones come only by `state`."""
        query = {
            "state": state,
            "tier": tier,
            "feature": feature,
            "schema_version": schema_version,
            "q": q,
            "order_by": order_by,
            "page_size": page_size,
            "page_token": page_token,
        }
        return Pages(self._transport, "/v1/tenants", Page[Tenant], query)

    async def update(
        self,
        tenant_id: str,
        *,
        if_match: str | None = None,
        validate_only: bool = False,
        **changes: Unpack[TenantChanges],
    ) -> Tenant:
        """The tenant after the change. With `if_match`, a tenant's etag, it is tried again as other calls are.

        Raises PreconditionFailed where somebody else was first.
        """
        call = _call.patch(tenant_path(tenant_id), changes, if_match=if_match, validate_only=validate_only)
        try:
            return read(await self._transport.send(call), Tenant)
        except PreconditionFailed as error:
            if error.tries == 1:
                raise
            # An earlier try, whose answer was lost, may have made the change, and the new etag with it.
            tenant = await self.get(tenant_id)
            if not _has(tenant, changes):
                raise
            return tenant

    async def suspend(
        self,
        tenant_id: str,
        *,
        reason: str | None = None,
        validate_only: bool = False,
        idempotency_key: str | None = None,
    ) -> Tenant:
        """The tenant, which the database keeps its application out of from now on. Raises Conflict as it stands."""
        return await self._moved(tenant_id, "suspend", reason, validate_only, idempotency_key)

    async def resume(
        self,
        tenant_id: str,
        *,
        reason: str | None = None,
        validate_only: bool = False,
        idempotency_key: str | None = None,
    ) -> Tenant:
        """The tenant, active again. Raises Conflict unless it was suspended."""
        return await self._moved(tenant_id, "resume", reason, validate_only, idempotency_key)

    async def delete(
        self, tenant_id: str, *, reason: str | None = None, if_match: str | None = None, validate_only: bool = False
    ) -> Tenant:
        """The tenant, which is kept until its `purge_time`; one that was deleted already is returned as it is."""
        query = {"reason": reason}
        call = _call.delete(tenant_path(tenant_id), query, if_match=if_match, validate_only=validate_only)
        return read(await self._transport.send(call), Tenant)

    async def restore(
        self,
        tenant_id: str,
        *,
        reason: str | None = None,
        validate_only: bool = False,
        idempotency_key: str | None = None,
    ) -> Tenant:
        """The tenant as it was before it was deleted. Raises Conflict unless it was."""
        return await self._moved(tenant_id, "restore", reason, validate_only, idempotency_key)

    async def _moved(
        self, tenant_id: str, transition: str, reason: str | None, validate_only: bool, key: str | None
    ) -> Tenant:
        body = {} if reason is None else {"reason": reason}
        path = f"{tenant_path(tenant_id)}/{transition}"
        return read(await self._transport.send(_call.post(path, body, key=key, validate_only=validate_only)), Tenant)

    async def _provisioned(
        self, tenant_id: str, response: httpx.Response, until: Deadline | None
    ) -> Tenant | Operation:
        if response.status_code != httpx.codes.ACCEPTED:
            return read(response, Tenant)
        operation = await self._operations.ended(response, until)
        if until is None:
            return operation
        succeeded(operation)
        return await self.get(tenant_id)


def _given(options: TenantOptions | NewTenant) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _change_many(
    tier: str | None,
    features: Mapping[str, bool | None] | None,
    fitting: TenantQuery,
    *,
    validate_only: bool,
    wait: Deadline | None,
) -> Call:
    body: dict[str, Any] = {} if tier is None else {"subscription_tier": tier}
    if features is not None:
        body["features"] = dict(features)
    query = {name: "true" if value is True else value for name, value in fitting.items() if value is not False}
    return _call.patch_all("/v1/tenants", query, body, validate_only=validate_only, wait=wait)


def _has(tenant: Tenant, changes: Mapping[str, object]) -> bool:
    return all(getattr(tenant, name, None) == value for name, value in changes.items())
