"""client.plans: what somebody else is about to destroy, and one's agreement."""

from uuid import UUID

from app.client import _call
from app.client._answer import read
from app.client._call import plan_path
from app.client._sync.transport import Transport
from app.client.models import StoredPlan


class Plans:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, plan_id: UUID | str) -> StoredPlan:
        """Raises NotFound for one that has expired, too."""
        return read(self._transport.send(_call.get(plan_path(plan_id))), StoredPlan)

    def approve(
        self, plan_id: UUID | str, *, validate_only: bool = False, idempotency_key: str | None = None
    ) -> StoredPlan:
        """Whoever made it can then confirm it. Raises Forbidden for a plan of one's own."""
        path = f"{plan_path(plan_id)}/approve"
        call = _call.post(path, None, key=idempotency_key, validate_only=validate_only)
        return read(self._transport.send(call), StoredPlan)
