"""client.catalog: the features and tiers there are to choose from."""

from collections.abc import Sequence
from typing import Any, TypeVar

from app.client import _call
from app.client._answer import read
from app.client._async.transport import Transport
from app.client._call import catalog_path
from app.client.errors import PreconditionFailed
from app.client.settings import CatalogFeature, CatalogFeatures, CatalogTier, CatalogTiers

M = TypeVar("M", CatalogFeature, CatalogTier)


class Catalog:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def features(self) -> CatalogFeatures:
        return read(await self._transport.send(_call.get("/v1/catalog/features")), CatalogFeatures)

    async def feature(self, name: str) -> CatalogFeature:
        return read(await self._transport.send(_call.get(catalog_path("features", name))), CatalogFeature)

    async def tiers(self) -> CatalogTiers:
        """The lowest first."""
        return read(await self._transport.send(_call.get("/v1/catalog/tiers")), CatalogTiers)

    async def tier(self, name: str) -> CatalogTier:
        return read(await self._transport.send(_call.get(catalog_path("tiers", name))), CatalogTier)

    async def put_feature(
        self,
        name: str,
        *,
        description: str = "",
        tier: str | None = None,
        enabled_by_default: bool = False,
        requires: Sequence[str] = (),
        if_match: str | None = None,
        validate_only: bool = False,
    ) -> CatalogFeature:
        """Adds it, or replaces the whole of it. `tier` is the lowest one that includes it; None: none does.

        Tenants get, or lose, what follows for them. Raises PreconditionFailed where it has another etag.
        """
        body = {
            "description": description,
            "tier": tier,
            "enabled_by_default": enabled_by_default,
            "requires": list(requires),
        }
        return await self._put("features", name, body, CatalogFeature, if_match, validate_only=validate_only)

    async def put_tier(
        self,
        name: str,
        *,
        rank: int,
        description: str = "",
        if_match: str | None = None,
        validate_only: bool = False,
    ) -> CatalogTier:
        """Adds it, or replaces the whole of it. It includes what tiers of a lower `rank` include.

        Its tenants get, or lose, what follows for them. Raises PreconditionFailed where it has another etag.
        """
        body = {"description": description, "rank": rank}
        return await self._put("tiers", name, body, CatalogTier, if_match, validate_only=validate_only)

    async def _put(
        self, kind: str, name: str, body: dict[str, Any], model: type[M], if_match: str | None, *, validate_only: bool
    ) -> M:
        path = catalog_path(kind, name)
        call = _call.put(path, body, if_match=if_match, validate_only=validate_only, wait=None)
        try:
            return read(await self._transport.send(call), model)
        except PreconditionFailed as error:
            if error.tries == 1:
                raise
            # An earlier try, whose answer was lost, may have made the change, and the new etag with it.
            found = read(await self._transport.send(_call.get(path)), model)
            if found.model_dump(mode="json", include=set(body)) != body:
                raise
            return found
