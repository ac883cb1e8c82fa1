"""client.schema: what is installed, bring it up to date, undo it."""

from typing import Literal, overload

import httpx

from app.client import _call
from app.client._answer import read
from app.client._async.operations import Operations, succeeded
from app.client._async.transport import Transport
from app.client.models import DowngradePlan, Operation, SchemaState


class Schema:
    def __init__(self, transport: Transport, operations: Operations) -> None:
        self._transport = transport
        self._operations = operations

    async def get(self) -> SchemaState:
        return read(await self._transport.send(_call.get("/v1/schema")), SchemaState)

    @overload
    async def upgrade(self, *, wait: Literal[False], idempotency_key: str | None = None) -> Operation: ...

    @overload
    async def upgrade(
        self,
        *,
        wait: Literal[True] | float = True,
        validate_only: bool = False,
        idempotency_key: str | None = None,
    ) -> SchemaState: ...

    async def upgrade(
        self, *, wait: bool | float = True, validate_only: bool = False, idempotency_key: str | None = None
    ) -> SchemaState | Operation:
        """The state afterwards; with `wait=False` the operation, with `validate_only` the state as it would be.

        Raises as operations.wait() does.
        """
        until = self._transport.times.wait(wait)
        call = _call.post("/v1/schema/upgrade", {}, key=idempotency_key, validate_only=validate_only, wait=until)
        response = await self._transport.send(call)
        if response.status_code != httpx.codes.ACCEPTED:
            return read(response, SchemaState)
        operation = await self._operations.ended(response, until)
        if until is None:
            return operation
        succeeded(operation)
        return await self.get()

    async def verify(self, *, wait: bool | float = True, idempotency_key: str | None = None) -> Operation:
        """Compares every tenant with what it must be: the operation, succeeded, whose result names those that are not;
        with `wait=False` as it stands. Raises as operations.wait() does.
        """
        return await self._of_all("verify", {}, wait=wait, key=idempotency_key)

    async def repair(
        self, *, drop_extra: bool = False, wait: bool | float = True, idempotency_key: str | None = None
    ) -> Operation:
        """Puts right those that are not. Raises OperationFailed, naming those that could not be mended."""
        body = {"drop_extra": True} if drop_extra else {}
        return await self._of_all("repair", body, wait=wait, key=idempotency_key)

    async def _of_all(self, what: str, body: dict[str, bool], *, wait: bool | float, key: str | None) -> Operation:
        until = self._transport.times.wait(wait)
        call = _call.post(f"/v1/schema/{what}", body, key=key, wait=until)
        operation = await self._operations.ended(await self._transport.send(call), until)
        return operation if until is None else succeeded(operation)

    async def sql(self) -> str:
        """The upgrade as a script for psql."""
        return (await self._transport.send(_call.get("/v1/schema/sql"))).text

    async def plan_downgrade(self) -> DowngradePlan:
        """What downgrade() would destroy, and the confirmation it takes: for ten minutes, once. Nothing is done."""
        call = _call.post("/v1/schema/downgrade", {}, key=None)
        return read(await self._transport.send(call), DowngradePlan)

    async def downgrade(
        self, confirmation: str, *, wait: bool | float = True, idempotency_key: str | None = None
    ) -> Operation:
        """Destroys what the confirmed plan names: the operation, succeeded, or with `wait=False` as it stands.

        Raises Conflict where the confirmation does not hold (any more), and as operations.wait() does.
        """
        until = self._transport.times.wait(wait)
        call = _call.post("/v1/schema/downgrade", {"confirmation": confirmation}, key=idempotency_key)
        operation = await self._operations.ended(await self._transport.send(call), until)
        return operation if until is None else succeeded(operation)
