"""client.operations: follow long work."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import httpx
from httpx_sse import EventSource

from app.client import _call, _policy
from app.client._answer import asked_pause, event, read
from app.client._async.pages import Pages
from app.client._async.transport import Transport
from app.client._call import Call, Deadline, operation_path
from app.client.errors import (
    ConnectionFailed,
    OperationCancelled,
    OperationFailed,
    TooManyRequests,
    Unavailable,
    WaitTimeout,
)
from app.client.models import Operation, OperationEvent, OperationOrder, OperationRef, OperationStatus, Page

# Where the service does not say when to ask again.
_POLL: Final = 1.0


class Operations:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def get(self, operation: OperationRef) -> Operation:
        return read(await self._transport.send(_call.get(operation_path(operation))), Operation)

    def list(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        tenant_id: str | None = None,
        order_by: OperationOrder | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
    ) -> Pages[Operation]:
        """Newest first, unless `order_by` says otherwise."""
        query = {
            "status": status,
            "kind": kind,
            "tenant_id": tenant_id,
            "order_by": order_by,
            "page_size": page_size,
            "page_token": page_token,
        }
        return Pages(self._transport, "/v1/operations", Page[Operation], query)

    async def wait(self, operation: OperationRef, *, seconds: float | None = None) -> Operation:
        """The operation, succeeded; waits `seconds` for it, by default the client's `wait_timeout`.

        Raises OperationFailed, OperationCancelled, or WaitTimeout while it still runs.
        """
        until = self._transport.times.wait(True if seconds is None else seconds)
        response = await self._transport.send(_call.get(operation_path(operation)), until=until)
        return succeeded(await self.ended(response, until))

    async def cancel(
        self,
        operation: OperationRef,
        *,
        wait: bool | float = True,
        validate_only: bool = False,
        idempotency_key: str | None = None,
    ) -> Operation:
        """The operation, cancelled; with `wait=False` as it stands, for running work stops between two items.

        What ended otherwise before it could be stopped is returned as it ended. Raises Conflict for what is over
        already, WaitTimeout for what has not stopped yet.
        """
        path = f"{operation_path(operation)}/cancel"
        return await self._asked(path, wait=wait, validate_only=validate_only, key=idempotency_key)

    async def retry(
        self,
        operation: OperationRef,
        *,
        wait: bool | float = True,
        validate_only: bool = False,
        idempotency_key: str | None = None,
    ) -> Operation:
        """A new operation that does the work of a failed or cancelled one: succeeded, or as it stands.

        Raises as wait() does.
        """
        path = f"{operation_path(operation)}/retry"
        again = await self._asked(path, wait=wait, validate_only=validate_only, key=idempotency_key)
        return again if wait is False or validate_only else succeeded(again)

    async def events(self, operation: OperationRef, *, after: str | None = None) -> AsyncIterator[OperationEvent]:
        """Each change as it happens, to the last one; those after event `after` only, where that is given.

        A lost connection is resumed where it broke; after `retry_for` seconds without any event ConnectionFailed
        or Unavailable is raised.
        """
        last, failures = after, 0
        limit = Deadline.after(self._transport.times.retry_for)
        while True:
            call = _events(operation, after=last)
            failure: ConnectionFailed | Unavailable | TooManyRequests
            failure = ConnectionFailed("The stream ended before the operation did.", sent=True)
            try:
                async with self._transport.stream(call) as response:
                    if response.status_code == httpx.codes.NO_CONTENT:
                        return
                    async for message in EventSource(response).aiter_sse():
                        # Comments keep a connection alive; the decoder hands them on as events without data.
                        if not message.data:
                            continue
                        change = event(message.id, message.event, message.data)
                        last, failures = change.id, 0
                        yield change
                        if change.operation.done:
                            return
                        limit = Deadline.after(self._transport.times.retry_for)
            except (ConnectionFailed, Unavailable, TooManyRequests) as error:
                failure = error
            failures += 1
            pause = _policy.pause(call, failure, failures)
            if pause is None or pause > limit.left:
                raise failure
            await asyncio.sleep(pause)

    async def ended(self, response: httpx.Response, until: Deadline | None) -> Operation:
        """Polls what `response` told of until it is over, as often as the service asks for; not at all without
        `until`. Raises WaitTimeout."""
        operation = read(response, Operation)
        while until is not None and not operation.done:
            if until.left <= 0:
                raise WaitTimeout(operation)
            pause = asked_pause(response)
            await asyncio.sleep(min(_POLL if pause is None else pause, max(0.0, until.left)))
            try:
                response = await self._transport.send(_call.get(operation_path(operation)), until=until)
            except (ConnectionFailed, Unavailable, TooManyRequests) as error:
                raise WaitTimeout(operation) from error
            operation = read(response, Operation)
        return operation

    async def _asked(self, path: str, *, wait: bool | float, validate_only: bool, key: str | None) -> Operation:
        until = self._transport.times.wait(wait)
        call = _call.post(path, key=key, validate_only=validate_only, wait=until)
        response = await self._transport.send(call)
        return await self.ended(response, None if validate_only else until)


def succeeded(operation: Operation) -> Operation:
    """Raises OperationFailed or OperationCancelled for one that ended so."""
    if operation.status == OperationStatus.FAILED:
        raise OperationFailed(operation)
    if operation.status == OperationStatus.CANCELLED:
        raise OperationCancelled(operation)
    return operation


def _events(operation: OperationRef, *, after: str | None) -> Call:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    return _call.get(
        f"{operation_path(operation)}/events", headers=headers if after is None else {**headers, "Last-Event-ID": after}
    )
