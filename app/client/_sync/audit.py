"""client.audit: who did what, and proof that nothing of it was altered. Takes a key of role auditor."""

from datetime import datetime
from typing import Final, Unpack

from app.client import _call
from app.client._answer import read
from app.client._sync.pages import Pages
from app.client._sync.transport import Transport
from app.client.audit import AuditQuery, AuditRecord, AuditVerification
from app.client.models import Page

_PATH: Final = "/v1/audit"


class Audit:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self, *, page_size: int | None = None, page_token: str | None = None, **wanted: Unpack[AuditQuery]
    ) -> Pages[AuditRecord]:
        """Newest first."""
        since, until = wanted.pop("since", None), wanted.pop("until", None)
        times = {"from": _text(since), "to": _text(until)}
        query = {**wanted, **times, "page_size": page_size, "page_token": page_token}
        return Pages(self._transport, _PATH, Page[AuditRecord], query)

    def verify(self, *, from_seq: int | None = None) -> AuditVerification:
        """Of the whole chain, or from a link on, in as many calls as that takes; ends at the first that is wrong."""
        first, rows = from_seq, 0
        while True:
            call = _call.get(f"{_PATH}/verify", {"from_seq": from_seq})
            found = read(self._transport.send(call), AuditVerification)
            rows += found.rows
            first = found.first_seq if first is None else first
            if found.next_seq is None:
                return found.model_copy(update={"rows": rows, "first_seq": first})
            from_seq = found.next_seq


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
