"""Reads the chain back: each link's hash again, from the rows as they are now."""

from collections.abc import Sequence
from typing import Any, Final

from app.audit import canonical, chain_queries
from app.audit.anchors import Anchor, AnchorError, Anchors
from app.audit.model import Bad, Fault, Head, Verified
from app.db.pool import Connection, Database
from app.errors import FieldError, Invalid

_PAGE: Final = 500


async def verify(
    database: Database, *, anchors: Anchors | None, start: int | None = None, at_most: int | None = None
) -> Verified:
    """The chain from `start`, by default its beginning, for `at_most` rows, by default to its end.

    Reads in pieces, so that it holds neither memory nor a snapshot. What is beyond single links (rows behind the
    sealer, the chain's end, anchors) is looked at where the end is reached.
    Raises Invalid for a `start` beyond the chain.
    """
    walk = _Walk(database, at_most)
    async with database.connection() as conn:
        head = await chain_queries.head(conn)
        _require_within(head, start)
        await walk.begin(conn, head, start)
    while walk.going:
        async with database.connection() as conn:
            await walk.step(conn)
    compared: int | None = None
    unsealed, seconds = 0, 0.0
    async with database.connection() as conn:
        bad = walk.bad or (await _whole(conn, walk) if walk.ended else None)
        head = await chain_queries.head(conn)
        if walk.ended:
            unsealed, seconds = await chain_queries.unsealed(conn)
    if bad is None and walk.ended and anchors is not None:
        compared, bad = await _anchored(database, anchors, head)
    return Verified(
        first_seq=walk.first,
        last_seq=walk.next - 1,
        rows=walk.rows,
        complete=walk.ended,
        head=head,
        unsealed=unsealed,
        unsealed_seconds=max(seconds, 0.0),
        anchors=compared,
        bad=bad,
    )


def _require_within(head: Head, start: int | None) -> None:
    if start is not None and start > head.seq + 1:
        wrong = FieldError(pointer="query/from_seq", detail=f"is beyond the chain, which ends at link {head.seq}")
        raise Invalid("The request is not valid; see errors.", errors=[wrong])


class _Walk:
    """Along the chain. A link that retention drops meanwhile is none that is missing."""

    def __init__(self, database: Database, at_most: int | None) -> None:
        self._database = database
        self._left = at_most
        self._previous = canonical.GENESIS
        self._floor = 0
        self.first = self.next = 1
        self.rows = 0
        self.ended = False
        self.bad: Bad | None = None

    @property
    def going(self) -> bool:
        return not self.ended and self.bad is None and (self._left is None or self._left > 0)

    async def begin(self, conn: Connection, head: Head, start: int | None) -> None:
        self._floor, self._previous = head.floor_seq, head.floor_hash
        self.first = self.next = max(start or 1, head.floor_seq + 1)
        if self.next > head.floor_seq + 1:
            before = await chain_queries.seal_at(conn, self.next - 1)
            if before is None:
                self.bad = await _no_seal(conn, self.next - 1)
            else:
                self._previous = bytes(before["hash"])

    async def step(self, conn: Connection) -> None:
        size = _PAGE if self._left is None else min(_PAGE, self._left)
        rows = await chain_queries.sealed(conn, start=self.next, limit=size)
        fault = self._follow(rows)
        if fault is not None:
            head = await chain_queries.head(conn)
            if head.floor_seq >= self.next and head.floor_seq > self._floor:
                self._floor, self._previous = head.floor_seq, head.floor_hash
                self.next = head.floor_seq + 1
                return
            self.bad = fault
        elif len(rows) < size:
            self.ended = True
        if self._left is not None:
            self._left -= len(rows)

    def _follow(self, rows: Sequence[Any]) -> Bad | None:
        for row in rows:
            seq, audit_id = row["seq"], row["audit_id"]
            if seq != self.next:
                return Bad(fault=Fault.SEAL_MISSING, detail=f"Link {self.next} of the chain is gone.", seq=self.next)
            if row["id"] is None:
                detail = f"Row {audit_id} of the audit trail is gone; it was link {seq}."
                return Bad(fault=Fault.ROW_MISSING, detail=detail, seq=seq, audit_id=audit_id)
            if canonical.link(self._previous, seq, row) != bytes(row["hash"]):
                detail = f"Row {audit_id} of the audit trail, link {seq}, is not what was sealed there."
                return Bad(fault=Fault.ALTERED, detail=detail, seq=seq, audit_id=audit_id)
            self._previous = bytes(row["hash"])
            self.next, self.rows = seq + 1, self.rows + 1
        return None

    async def recorded_end(self, conn: Connection) -> Bad | None:
        """What the sealer has noted as the head must be the last link, or one that it has made since."""
        head = await chain_queries.head(conn)
        if head == chain_queries.NO_HEAD:
            return Bad(fault=Fault.TRUNCATED, detail="The record of the chain's head, bf_control.audit_chain, is gone.")
        if head.seq < self.next - 1:
            detail = f"The chain goes on to link {self.next - 1}, beyond its recorded head, {head.seq}."
            return Bad(fault=Fault.ALTERED, detail=detail, seq=head.seq + 1)
        if await chain_queries.newest_seal(conn) < head.seq and head.seq != head.floor_seq:
            detail = f"The chain ends at link {self.next - 1}, before its recorded head, {head.seq}."
            return Bad(fault=Fault.TRUNCATED, detail=detail, seq=self.next)
        if head.seq == self.next - 1 and head.hash != self._previous:
            return Bad(fault=Fault.ALTERED, detail=f"The hash of the head, link {head.seq}, is another.", seq=head.seq)
        return None


async def _no_seal(conn: Connection, seq: int) -> Bad:
    newest = await chain_queries.newest_seal(conn)
    if seq > newest:
        return Bad(fault=Fault.TRUNCATED, detail=f"There is no link {seq}: the last is {newest}.", seq=seq)
    return Bad(fault=Fault.SEAL_MISSING, detail=f"Link {seq} of the chain is gone.", seq=seq)


async def _whole(conn: Connection, walk: _Walk) -> Bad | None:
    """What no single link shows."""
    bad = await walk.recorded_end(conn)
    if bad is not None:
        return bad
    head = await chain_queries.head(conn)
    if head.floor_seq and not await chain_queries.drop_recorded(conn, head.floor_seq, head.floor_hash):
        detail = (
            f"The chain begins after link {head.floor_seq}, and no row of the trail says that the rest was dropped."
        )
        return Bad(fault=Fault.DROP_UNKNOWN, detail=detail, seq=head.floor_seq)
    passed_by = await chain_queries.never_sealed(conn)
    if passed_by is not None:
        detail = f"Row {passed_by} of the audit trail was put in behind the sealer."
        return Bad(fault=Fault.NEVER_SEALED, detail=detail, audit_id=passed_by)
    return None


async def _anchored(database: Database, anchors: Anchors, head: Head) -> tuple[int, Bad | None]:
    """How many anchors were compared with the chain, and what differs first."""
    try:
        kept = await anchors.newest(head)
    except AnchorError as error:
        return 0, Bad(fault=Fault.ANCHOR_UNREADABLE, detail=error.detail)
    async with database.connection() as conn:
        head = await chain_queries.head(conn)
        for number, anchor in enumerate(kept):
            bad = await _compared(conn, anchors, anchor, head)
            if bad is not None:
                return number + 1, bad
    return len(kept), None


async def _compared(conn: Connection, anchors: Anchors, anchor: Anchor, head: Head) -> Bad | None:
    if not anchors.genuine(anchor, head):
        return Bad(fault=Fault.ANCHOR_INVALID, detail=f"The anchor {anchor.name} is not signed with our key.")
    if anchor.seq > head.seq:
        detail = f"The chain ends at link {head.seq}; it was anchored at {anchor.seq}."
        return Bad(fault=Fault.TRUNCATED, detail=detail, seq=head.seq + 1)
    if anchor.seq <= head.floor_seq:
        return None
    link = await chain_queries.seal_at(conn, anchor.seq)
    if link is None or bytes(link["hash"]) != anchor.hash:
        detail = f"Link {anchor.seq} is not the one that was anchored: the chain was made anew."
        found = None if link is None else link["audit_id"]
        return Bad(fault=Fault.ANCHOR_DIFFERS, detail=detail, seq=anchor.seq, audit_id=found)
    return None
