"""client.monitoring: sizes, rows, indexes, statements and connections, as they were last looked at."""

from typing import Final, Literal

from app.client import _call
from app.client._answer import read
from app.client._sync.pages import Pages
from app.client._sync.transport import Transport
from app.client.monitoring import (
    ConnectionOrder,
    ConnectionSnapshot,
    FleetSnapshot,
    IndexOrder,
    IndexSnapshot,
    SchemaSnapshot,
    SnapshotPage,
    StatementOrder,
    StatementSnapshot,
    TableOrder,
    TableSnapshot,
)

_PATH: Final = "/v1/health"


class Monitoring:
    """Every list can be iterated, item by item; `.pages()` has the time it was seen, and what could not be."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def fleet(self) -> FleetSnapshot:
        """The database, the collectors, and the first tenants' schemas."""
        return read(self._transport.send(_call.get(f"{_PATH}/fleet")), FleetSnapshot)

    def schemas(
        self,
        *,
        tenant_id: str | None = None,
        broken: bool | None = None,
        order_by: TableOrder | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
    ) -> Pages[SchemaSnapshot]:
        """Whether each tenant's schema is whole, or those that are `broken`; by tenant."""
        query = {"tenant_id": tenant_id, "broken": broken, "order_by": order_by}
        return Pages(self._transport, f"{_PATH}/fleet", FleetSnapshot, {**query, **_page(page_size, page_token)})

    def tables(
        self,
        *,
        tenant_id: str | None = None,
        table: str | None = None,
        order_by: TableOrder | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
    ) -> Pages[TableSnapshot]:
        """The largest first."""
        query = {"tenant_id": tenant_id, "table": table, "order_by": order_by, **_page(page_size, page_token)}
        return Pages(self._transport, f"{_PATH}/tables", SnapshotPage[TableSnapshot], query)

    def indexes(
        self,
        *,
        tenant_id: str | None = None,
        table: str | None = None,
        only: Literal["unused", "invalid"] | None = None,
        order_by: IndexOrder | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
    ) -> Pages[IndexSnapshot]:
        """Those that are read most first."""
        query = {"tenant_id": tenant_id, "table": table, "only": only, "order_by": order_by}
        return Pages(
            self._transport, f"{_PATH}/indexes", SnapshotPage[IndexSnapshot], {**query, **_page(page_size, page_token)}
        )

    def queries(
        self,
        *,
        tenant_id: str | None = None,
        role: str | None = None,
        order_by: StatementOrder | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
    ) -> Pages[StatementSnapshot]:
        """The slowest first."""
        query = {"tenant_id": tenant_id, "role": role, "order_by": order_by, **_page(page_size, page_token)}
        return Pages(self._transport, f"{_PATH}/queries", SnapshotPage[StatementSnapshot], query)

    def connections(
        self,
        *,
        role: str | None = None,
        state: str | None = None,
        order_by: ConnectionOrder | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
    ) -> Pages[ConnectionSnapshot]:
        """By role, application and state, the most first."""
        query = {"role": role, "state": state, "order_by": order_by, **_page(page_size, page_token)}
        return Pages(self._transport, f"{_PATH}/connections", SnapshotPage[ConnectionSnapshot], query)


def _page(size: int | None, token: str | None) -> dict[str, object]:
    return {"page_size": size, "page_token": token}
