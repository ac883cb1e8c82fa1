"""SQL of lists of tenants: a statement for each combination of filters and order, put together of constants."""

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Final, Literal

from app.db.pool import Connection
from app.registry.model import State, Tenant
from app.registry.queries import tenant_of

OrderBy = Literal["id", "-id", "name", "-name", "created_at", "-created_at"]

# Every statement has the same parameters, of which the planner forgets those it does not use.
_FIELDS: Final = """
       tenant_id, tenant_name, schema_name, state, schema_version, subscription_tier, billing_contact, generation,
       created_by, created_at, updated_at, last_operation_id, error, state_reason, state_changed_at, state_changed_by,
       purge_time
  FROM (SELECT t.*
          FROM (SELECT $1::text AS state, $2::text AS tier, $3::text AS feature, $4::integer AS schema_version,
                       $5::text AS words, $6::text AS value, $7::text AS tenant_id, $8::bigint AS size) AS asked
"""
# `at_…` are the columns of the order: of listed_feature, whose index is walked then, where a feature is asked for.
_TENANTS: Final = """
         CROSS JOIN (SELECT t.*, t.tenant_id AS at_id, t.tenant_name AS at_name, t.created_at AS at_time
                       FROM bf_control.tenant AS t) AS t
         WHERE true
"""
_TENANTS_WITH_FEATURE: Final = """
         CROSS JOIN (SELECT t.*, l.feature, l.tenant_id AS at_id, l.tenant_name AS at_name, l.created_at AS at_time
                       FROM bf_control.listed_feature AS l
                       JOIN bf_control.tenant AS t ON t.tenant_id = l.tenant_id) AS t
         WHERE true
"""
_LISTED: Final = "AND t.state <> 'deleted'"
# Of deleted ones, which listed_feature does not have.
_HAS_FEATURE: Final = "AND t.features @> ARRAY[asked.feature]"
# So that the index without those who have none will do.
_HAS_VERSION: Final = "AND t.schema_version IS NOT NULL"
_HAS_TRIGRAMS: Final = """
   AND bf_control.trigrams(t.tenant_id || E'\n' || lower(t.tenant_name)) @> bf_control.trigrams(lower(asked.words))
   AND strpos(t.tenant_id || E'\n' || lower(t.tenant_name), lower(asked.words)) > 0
"""
_MATCHES: Final = "AND strpos(tenant_id || E'\n' || lower(tenant_name), lower($5)) > 0"

Filter = Literal["state", "tier", "feature", "schema_version"]
# The column, what it is compared with, and both of the rows that were walked.
_FILTERS: Final[dict[Filter, tuple[str, str, str]]] = {
    "state": ("t.state", "asked.state", "AND state = $1"),
    "tier": ("t.subscription_tier", "asked.tier", "AND subscription_tier = $2"),
    "feature": ("t.feature", "asked.feature", "AND feature = $3"),
    "schema_version": ("t.schema_version", "asked.schema_version", "AND schema_version = $4"),
}
_COLUMNS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "id": (("t.at_id",), ("asked.tenant_id",)),
    "name": (("t.at_name", "t.at_id"), ("asked.value", "asked.tenant_id")),
    "created_at": (("t.at_time", "t.at_id"), ("asked.value::timestamptz", "asked.tenant_id")),
}
# A page and one tenant more; and how many a search looks at before it asks the index of trigrams.
MOST: Final = 501
_WALKED: Final = "LIMIT 501) AS listed WHERE true"
_LOOKED_AT: Final = "LIMIT 2000) AS listed WHERE true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Which statement it is: what is asked for, without the values. `searched` is how the words are looked for."""

    state: Literal["listed", "deleted", "other"] = "listed"
    tier: bool = False
    feature: bool = False
    schema_version: bool = False
    searched: Literal["no", "looking", "trigrams"] = "no"
    beyond: bool = False
    order_by: OrderBy = "id"

    @property
    def filters(self) -> list[Filter]:
        """Those that are an equality."""
        found: list[Filter] = [] if self.state == "listed" else ["state"]
        found += ["tier"] if self.tier else []
        found += ["feature"] if self.feature and self.state != "deleted" else []
        found += ["schema_version"] if self.schema_version else []
        return found

    @property
    def walked(self) -> Filter | None:
        """The one filter, whose index has the rows that fit next to each other, in the order asked for."""
        alone = len(self.filters) == 1 and (not self.feature or self.state == "listed") and self.searched != "trigrams"
        return self.filters[0] if alone else None


@cache
def statement(shape: Shape) -> str:
    """A filter that is alone is where the walk of its index begins, and an equality only of the rows it met.

    So no plan can read more than those, whatever it knows of the values. For filters that are combined the planner
    chooses which index to walk, and what fits them all may be far apart there.
    """
    parts = ["SELECT", _FIELDS, _TENANTS_WITH_FEATURE if "feature" in shape.filters else _TENANTS]
    parts += [] if shape.state == "deleted" or shape.walked == "state" else [_LISTED]
    parts += [_HAS_VERSION] if shape.schema_version else []
    parts += [_HAS_FEATURE] if shape.feature and shape.state == "deleted" else []
    parts += [_HAS_TRIGRAMS] if shape.searched == "trigrams" else []
    for name in shape.filters:
        column, value, _ = _FILTERS[name]
        parts += [] if name == shape.walked else ["AND", column, "=", value]
    parts += _walk(shape)
    parts += [_LOOKED_AT if shape.searched == "looking" else _WALKED]
    parts += [_FILTERS[shape.walked][2]] if shape.walked else []
    parts += [_MATCHES] if shape.searched == "looking" else []
    return " ".join([*parts, "LIMIT $8"])


def _walk(shape: Shape) -> list[str]:
    """From where, and in which order."""
    descending, (columns, values) = shape.order_by.startswith("-"), _COLUMNS[shape.order_by.lstrip("-")]
    first, of_first = ((), ()) if shape.walked is None else ((_FILTERS[shape.walked][0],), (_FILTERS[shape.walked][1],))
    parts: list[str] = []
    if shape.beyond:
        parts = ["AND (", ", ".join(first + columns), ") < (" if descending else ") > ("]
        parts += [", ".join(of_first + values), ")"]
    elif shape.walked is not None:
        parts = ["AND", *first, "<=" if descending else ">=", *of_first]
    return [*parts, "ORDER BY", (" DESC, " if descending else ", ").join(first + columns), "DESC" if descending else ""]


async def page(
    conn: Connection,
    *,
    state: State | None,
    tier: str | None,
    contains: str | None,
    feature: str | None,
    schema_version: int | None,
    order_by: OrderBy,
    after: tuple[str, str] | None,
    limit: int,
) -> list[Tenant]:
    """Up to `limit` tenants, 501 at most, beyond `after`: the order's value (created_at in ISO 8601) and the id."""
    value, last_id = (None, None) if after is None else after
    shape = Shape(
        state="listed" if state is None else "deleted" if state is State.DELETED else "other",
        tier=tier is not None,
        feature=feature is not None,
        schema_version=schema_version is not None,
        searched="no" if contains is None else "looking",
        beyond=after is not None,
        order_by=order_by,
    )
    values = (state, tier, feature, schema_version, contains, value, last_id, limit)
    rows = await conn.fetch(statement(shape), *values)
    if contains is not None and len(rows) < limit:
        # Trigrams find what is rare. What is common has been met by now, and they would have led to all of it.
        rows = await conn.fetch(statement(replace(shape, searched="trigrams")), *values)
    return [tenant_of(row) for row in rows]


def order_value(tenant: Tenant, order_by: OrderBy) -> str:
    """What page() wants of the last row, as text."""
    value: str | datetime
    match order_by.lstrip("-"):
        case "name":
            value = tenant.tenant_name
        case "created_at":
            value = tenant.created_at
        case _:
            value = tenant.tenant_id
    return value.isoformat() if isinstance(value, datetime) else value
