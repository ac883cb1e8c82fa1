"""client.webhooks: who is told of events, and what they were sent."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from app.client import _call
from app.client._answer import read
from app.client._call import webhook_path
from app.client._sync.transport import Transport
from app.client.errors import NotFound
from app.client.models import Page
from app.client.settings import Delivery, IssuedWebhook, Replayed, Webhook

_PATH = "/v1/webhooks"


class Webhooks:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self, *, tenant_id: str | None = None, page_size: int | None = None, page_token: str | None = None
    ) -> Page[Webhook]:
        """One page, the oldest first: those of integrations too."""
        query = {"tenant_id": tenant_id, "page_size": page_size, "page_token": page_token}
        return read(self._transport.send(_call.get(_PATH, query)), Page[Webhook])

    def get(self, webhook_id: UUID | str) -> Webhook:
        return read(self._transport.send(_call.get(webhook_path(webhook_id))), Webhook)

    def create(
        self,
        url: str,
        *,
        description: str = "",
        event_types: Sequence[str] = (),
        tenant_id: str | None = None,
        validate_only: bool = False,
        idempotency_key: str | None = None,
    ) -> IssuedWebhook:
        """Of every type, unless some are named. Keep its `secret`: it is shown this once.

        None, where an earlier try, whose answer was lost, has made it: rotate() gives another one.
        """
        body = {"url": url, "description": description, "event_types": list(event_types), "tenant_id": tenant_id}
        call = _call.post(_PATH, body, key=idempotency_key, validate_only=validate_only)
        return read(self._transport.send(call), IssuedWebhook)

    def delete(self, webhook_id: UUID | str, *, if_match: str | None = None, validate_only: bool = False) -> None:
        """What waits for it is not sent either."""
        call = _call.delete(webhook_path(webhook_id), if_match=if_match, validate_only=validate_only)
        try:
            self._transport.send(call)
        except NotFound as error:
            if error.tries == 1:
                raise  # else an earlier try, whose answer was lost, has deleted it

    def rotate(
        self, webhook_id: UUID | str, *, overlap_seconds: int = 86400, idempotency_key: str | None = None
    ) -> IssuedWebhook:
        """With another secret; for so long the one before signs beside it."""
        path = f"{webhook_path(webhook_id)}/rotate"
        call = _call.post(path, {"overlap_seconds": overlap_seconds}, key=idempotency_key)
        return read(self._transport.send(call), IssuedWebhook)

    def enable(self, webhook_id: UUID | str, *, idempotency_key: str | None = None) -> Webhook:
        """After its receiver has answered 410."""
        path = f"{webhook_path(webhook_id)}/enable"
        return read(self._transport.send(_call.post(path, key=idempotency_key)), Webhook)

    def test(self, webhook_id: UUID | str, *, idempotency_key: str | None = None) -> Delivery:
        """Queues an event for it alone; deliveries() say how that went."""
        path = f"{webhook_path(webhook_id)}/test"
        return read(self._transport.send(_call.post(path, key=idempotency_key)), Delivery)

    def deliveries(
        self,
        webhook_id: UUID | str,
        *,
        status: str | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
    ) -> Page[Delivery]:
        """One page, the newest event first. `status` is `pending`, `delivered` or `dead`."""
        query = {"status": status, "page_size": page_size, "page_token": page_token}
        path = f"{webhook_path(webhook_id)}/deliveries"
        return read(self._transport.send(_call.get(path, query)), Page[Delivery])

    def replay(
        self,
        webhook_id: UUID | str,
        *,
        delivery_id: UUID | str | None = None,
        since: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Replayed:
        """Sends one delivery again, or every event since then, under the ids that they had."""
        given = {"delivery_id": delivery_id, "since": since}
        body = {name: value for name, value in given.items() if value is not None}
        path = f"{webhook_path(webhook_id)}/replay"
        return read(self._transport.send(_call.post(path, body, key=idempotency_key)), Replayed)
