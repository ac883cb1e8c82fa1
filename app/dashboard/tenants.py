"""GET /ui/tenants: searching, filtering and sorting, a page at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.catalog import queries as catalog
from app.catalog.schemas import FeatureName, TierName
from app.dashboard.access import PageViewer
from app.dashboard.templates import render
from app.dashboard.urls import address
from app.errors import Invalid
from app.http import pagination, problem
from app.http.dependencies import Db, Tokens
from app.registry import service as registry
from app.registry.model import State
from app.registry.service import TenantFilter
from app.tenants.schemas import OrderBy, SearchedFor

router = APIRouter(include_in_schema=False)
_SIZE: Final = 50
_SHORTEST: Final = 3
# What can be sorted by: the column, how it is asked for, and whether it is descending at first.
_SORTS: Final = (("id", "Tenant"), ("name", "Name"), ("created_at", "Created"))


class _Query(BaseModel):
    """As GET /v1/tenants takes them; what a form leaves empty is not asked for."""

    model_config = ConfigDict(extra="forbid")

    state: State | None = None
    tier: TierName | None = None
    feature: FeatureName | None = None
    schema_version: int | None = Field(None, ge=0, lt=2**31)
    q: SearchedFor | None = None
    order_by: OrderBy = "id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """`given` is what stands in the address, `short` that there is too little to search for."""

    wanted: _Query
    given: Mapping[str, str]
    short: bool
    page_token: str | None

    def url(self, **others: str) -> str:
        """The same list, but for these; the empty ones are left out."""
        return address("/ui/tenants", **{**self.given, **others})

    @property
    def filtered(self) -> bool:
        return any(name != "order_by" for name in self.given)


async def _asked(
    state: str = "",
    tier: str = "",
    feature: str = "",
    schema_version: str = "",
    q: str = "",
    order_by: str = "",
    page_token: str = "",
) -> Asked:
    """Raises Invalid."""
    fields = {
        "state": state, "tier": tier, "feature": feature, "schema_version": schema_version, "q": q.strip(),
        "order_by": order_by,
    }  # fmt: skip
    given = {name: value for name, value in fields.items() if value}
    short = 0 < len(fields["q"]) < _SHORTEST
    try:
        wanted = _Query.model_validate({n: v for n, v in given.items() if not (short and n == "q")})
    except ValidationError as error:
        raise Invalid(
            "The list cannot be asked for like this; see errors.", errors=problem.faults(error.errors())
        ) from None
    return Asked(wanted=wanted, given=given, short=short, page_token=page_token or None)


@router.get("/ui/tenants")
async def tenants_page(
    request: Request, actor: PageViewer, db: Db, tokens: Tokens, asked: Annotated[Asked, Depends(_asked)]
) -> HTMLResponse:
    wanted = asked.wanted
    query = {"list": "ui tenants", **wanted.model_dump(mode="json")}
    after = tokens.read(asked.page_token, query)
    if after is not None and wanted.order_by.endswith("created_at"):
        pagination.require_timestamp(after[0])
    tenant_filter = TenantFilter(
        state=wanted.state,
        tier=wanted.tier,
        feature=wanted.feature,
        schema_version=wanted.schema_version,
        contains=wanted.q,
        order_by=wanted.order_by,
    )
    async with db.connection() as conn:
        tenants, following = await registry.page(conn, tenant_filter, after=after, size=_SIZE)
        tiers = await catalog.tiers(conn)
        features = await catalog.features(conn)
    token = tokens.issue(query, following)
    return render(
        request,
        "tenants.html",
        actor,
        tenants=tenants,
        asked=asked,
        columns=[_column(asked, name, label) for name, label in _SORTS],
        next_url=None if token is None else asked.url(page_token=token),
        states=list(State),
        tiers=[tier.name for tier in tiers],
        features=[feature.name for feature in features],
    )


def _column(asked: Asked, name: str, label: str) -> dict[str, Any]:
    """Its heading sorts by it; once more, the other way round."""
    by = asked.wanted.order_by
    order = {name: "ascending", f"-{name}": "descending"}.get(by)
    other = f"-{name}" if by == name else name
    return {"label": label, "order": order, "url": asked.url(order_by=other)}
