"""client.tenants: provision, read, change."""

from collections.abc import Mapping
from typing import Any, Literal, Unpack, overload
from uuid import UUID

import httpx

from app.client import _call
from app.client._answer import read
from app.client._call import Deadline, tenant_path
from app.client._sync.many import ManyTenants, given
from app.client._sync.operations import succeeded
from app.client._sync.pages import Pages
from app.client.errors import PreconditionFailed
from app.client.models import (
    Backup,
    FullTenant,
    Operation,
    Page,
    PurgePlan,
    Tenant,
    TenantChanges,
    TenantOptions,
    TenantOrder,
    Verification,
)


class Tenants(ManyTenants):
    @overload
    def create(
        self,
        tenant_id: str,
        tenant_name: str,
        *,
        wait: Literal[False],
        idempotency_key: str | None = None,
        **options: Unpack[TenantOptions],
    ) -> Operation: ...

    @overload
    def create(
        self,
        tenant_id: str,
        tenant_name: str,
        *,
        wait: Literal[True] | float = True,
        validate_only: bool = False,
        idempotency_key: str | None = None,
        **options: Unpack[TenantOptions],
    ) -> Tenant: ...

    def create(
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
        body = {"tenant_id": tenant_id, "tenant_name": tenant_name, **given(options)}
        call = _call.post("/v1/tenants", body, key=idempotency_key, validate_only=validate_only, wait=until)
        response = self._transport.send(call)
        if until is None and response.status_code == httpx.codes.CREATED:
            # Made on the spot, by an operation that was born succeeded.
            return self._operations.get(response.headers["Operation-Location"].rpartition("/")[2])
        return self._provisioned(tenant_id, response, until)

    @overload
    def put(
        self, tenant_id: str, tenant_name: str, *, wait: Literal[False], **options: Unpack[TenantOptions]
    ) -> Tenant | Operation: ...

    @overload
    def put(
        self,
        tenant_id: str,
        tenant_name: str,
        *,
        wait: Literal[True] | float = True,
        validate_only: bool = False,
        **options: Unpack[TenantOptions],
    ) -> Tenant: ...

    def put(
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
        body = {"tenant_name": tenant_name, **given(options)}
        call = _call.put(tenant_path(tenant_id), body, validate_only=validate_only, wait=until)
        return self._provisioned(tenant_id, self._transport.send(call), until)

    @overload
    def get(self, tenant_id: str, *, view: Literal["basic"] = "basic") -> Tenant: ...

    @overload
    def get(self, tenant_id: str, *, view: Literal["full"]) -> FullTenant: ...

    def get(self, tenant_id: str, *, view: Literal["basic", "full"] = "basic") -> Tenant:
        """A failed tenant is returned, with its error."""
        if view == "full":
            return read(self._transport.send(_call.get(tenant_path(tenant_id), {"view": view})), FullTenant)
        return read(self._transport.send(_call.get(tenant_path(tenant_id))), Tenant)

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

    def update(
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
            return read(self._transport.send(call), Tenant)
        except PreconditionFailed as error:
            if error.tries == 1:
                raise
            # An earlier try, whose answer was lost, may have made the change, and the new etag with it.
            tenant = self.get(tenant_id)
            if not _has(tenant, changes):
                raise
            return tenant

    def suspend(
        self,
        tenant_id: str,
        *,
        reason: str | None = None,
        validate_only: bool = False,
        idempotency_key: str | None = None,
    ) -> Tenant:
        """The tenant, which the database keeps its application out of from now on. Raises Conflict as it stands."""
        return self._moved(tenant_id, "suspend", reason, validate_only, idempotency_key)

    def resume(
        self,
        tenant_id: str,
        *,
        reason: str | None = None,
        validate_only: bool = False,
        idempotency_key: str | None = None,
    ) -> Tenant:
        """The tenant, active again. Raises Conflict unless it was suspended."""
        return self._moved(tenant_id, "resume", reason, validate_only, idempotency_key)

    def delete(
        self, tenant_id: str, *, reason: str | None = None, if_match: str | None = None, validate_only: bool = False
    ) -> Tenant:
        """The tenant, which is kept until its `purge_time`; one that was deleted already is returned as it is."""
        query = {"reason": reason}
        call = _call.delete(tenant_path(tenant_id), query, if_match=if_match, validate_only=validate_only)
        return read(self._transport.send(call), Tenant)

    @overload
    def restore(
        self,
        tenant_id: str,
        *,
        wait: Literal[False],
        backup_id: UUID | str | None = None,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Tenant | Operation: ...

    @overload
    def restore(
        self,
        tenant_id: str,
        *,
        wait: Literal[True] | float = True,
        backup_id: UUID | str | None = None,
        reason: str | None = None,
        validate_only: bool = False,
        idempotency_key: str | None = None,
    ) -> Tenant: ...

    def restore(
        self,
        tenant_id: str,
        *,
        wait: bool | float = True,
        backup_id: UUID | str | None = None,
        reason: str | None = None,
        validate_only: bool = False,
        idempotency_key: str | None = None,
    ) -> Tenant | Operation:
        """The tenant as it was before it was deleted; a purged one from its latest backup, or that of `backup_id`,
        for which `wait=False` returns the operation.

        Raises Conflict where its state forbids it, NotFound where there is no backup, and as operations.wait() does.
        """
        until = self._transport.times.wait(wait)
        body = _reasoned(reason, {} if backup_id is None else {"backup_id": str(backup_id)})
        path = f"{tenant_path(tenant_id)}/restore"
        call = _call.post(path, body, key=idempotency_key, validate_only=validate_only, wait=until)
        return self._provisioned(tenant_id, self._transport.send(call), until)

    def plan_purge(self, tenant_id: str, *, waive_backup: bool = False) -> PurgePlan:
        """What purge() would drop, and the confirmation it takes: for ten minutes, once. Nothing is done.

        Raises Conflict unless the tenant is deleted or failed, and Unavailable where no backup can be made.
        """
        body = {"waive_backup": True} if waive_backup else {}
        call = _call.post(f"{tenant_path(tenant_id)}/purge", body, key=None)
        return read(self._transport.send(call), PurgePlan)

    def purge(
        self,
        tenant_id: str,
        confirmation: str,
        *,
        waive_backup: bool = False,
        reason: str | None = None,
        wait: bool | float = True,
        idempotency_key: str | None = None,
    ) -> Operation:
        """Drops what the confirmed plan names, after a backup: the operation, succeeded, or with `wait=False` as it
        stands.

        Raises Conflict where the confirmation does not hold (any more), and as plan_purge() and operations.wait() do.
        """
        given = {"confirmation": confirmation} | ({"waive_backup": True} if waive_backup else {})
        body = _reasoned(reason, given)
        return self._worked(tenant_id, "purge", body, wait=wait, key=idempotency_key)

    @overload
    def backup(
        self,
        tenant_id: str,
        *,
        wait: Literal[False],
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Operation: ...

    @overload
    def backup(
        self,
        tenant_id: str,
        *,
        wait: Literal[True] | float = True,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Backup: ...

    def backup(
        self,
        tenant_id: str,
        *,
        wait: bool | float = True,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Backup | Operation:
        """A new backup, verified; with `wait=False` the operation that makes it. Raises as purge() does."""
        until = self._transport.times.wait(wait)
        path = f"{tenant_path(tenant_id)}/backups"
        response = self._transport.send(_call.post(path, _reasoned(reason), key=idempotency_key, wait=until))
        if response.status_code != httpx.codes.ACCEPTED:
            return read(response, Backup)
        operation = self._operations.ended(response, until)
        if until is None:
            return operation
        succeeded(operation)
        for made in self.backups(tenant_id):
            if made.id == operation.id:
                return made
        return operation

    def backups(self, tenant_id: str, *, page_size: int | None = None, page_token: str | None = None) -> Pages[Backup]:
        """The newest first; a purged tenant's too."""
        query = {"page_size": page_size, "page_token": page_token}
        return Pages(self._transport, f"{tenant_path(tenant_id)}/backups", Page[Backup], query)

    def verify(self, tenant_id: str) -> Verification:
        """What of the tenant's catalogue is not as it must be. Raises Conflict while it has no schema."""
        path = f"{tenant_path(tenant_id)}/verify"
        return read(self._transport.send(_call.post(path, {}, key=None)), Verification)

    def repair(
        self,
        tenant_id: str,
        *,
        drop_extra: bool = False,
        wait: bool | float = True,
        idempotency_key: str | None = None,
    ) -> Operation:
        """Puts that right: the operation, succeeded, whose result says what was done; with `wait=False` as it stands.

        Raises OperationFailed, which says what could not be mended and why, and as operations.wait() does.
        """
        body = {"drop_extra": True} if drop_extra else {}
        return self._worked(tenant_id, "repair", body, wait=wait, key=idempotency_key)

    def _worked(
        self, tenant_id: str, what: str, body: Mapping[str, Any], *, wait: bool | float, key: str | None
    ) -> Operation:
        until = self._transport.times.wait(wait)
        call = _call.post(f"{tenant_path(tenant_id)}/{what}", body, key=key, wait=until)
        operation = self._operations.ended(self._transport.send(call), until)
        return operation if until is None else succeeded(operation)

    def _moved(
        self, tenant_id: str, transition: str, reason: str | None, validate_only: bool, key: str | None
    ) -> Tenant:
        body = _reasoned(reason)
        path = f"{tenant_path(tenant_id)}/{transition}"
        return read(self._transport.send(_call.post(path, body, key=key, validate_only=validate_only)), Tenant)

    def _provisioned(self, tenant_id: str, response: httpx.Response, until: Deadline | None) -> Tenant | Operation:
        if response.status_code != httpx.codes.ACCEPTED:
            return read(response, Tenant)
        operation = self._operations.ended(response, until)
        if until is None:
            return operation
        succeeded(operation)
        return self.get(tenant_id)


def _reasoned(reason: str | None, others: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {**(others or {}), **({} if reason is None else {"reason": reason})}


def _has(tenant: Tenant, changes: Mapping[str, object]) -> bool:
    return all(getattr(tenant, name, None) == value for name, value in changes.items())
