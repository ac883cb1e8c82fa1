"""client.features: what a tenant may use, and why."""

from app.client import _call
from app.client._answer import read
from app.client._async.transport import Transport
from app.client._call import Call, feature_path, features_path
from app.client.errors import PreconditionFailed
from app.client.settings import Features


class TenantFeatures:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def get(self, tenant_id: str) -> Features:
        """Every feature of the catalogue, and those that only this tenant has."""
        return read(await self._transport.send(_call.get(features_path(tenant_id))), Features)

    async def enable(
        self, tenant_id: str, name: str, *, if_match: str | None = None, validate_only: bool = False
    ) -> Features:
        """The tenant's own from now on, whatever its tier includes. `if_match` is the etag of its features.

        Raises Conflict where what it requires is not enabled, ValidationFailed where the catalogue does not know it.
        """
        return await self._set(tenant_id, name, True, if_match=if_match, validate_only=validate_only)

    async def disable(
        self, tenant_id: str, name: str, *, if_match: str | None = None, validate_only: bool = False
    ) -> Features:
        """Off from now on, whatever its tier includes.

        Raises Conflict where an enabled feature requires it, ValidationFailed where the catalogue does not know it.
        """
        return await self._set(tenant_id, name, False, if_match=if_match, validate_only=validate_only)

    async def reset(
        self, tenant_id: str, name: str, *, if_match: str | None = None, validate_only: bool = False
    ) -> Features:
        """The tier, or the catalogue's default, decides again. Raises Conflict and NotFound."""
        call = _call.delete(feature_path(tenant_id, name), if_match=if_match, validate_only=validate_only)
        return await self._changed(tenant_id, call, name, None)

    async def _set(
        self, tenant_id: str, name: str, enabled: bool, *, if_match: str | None, validate_only: bool
    ) -> Features:
        body = {"enabled": enabled}
        call = _call.put(feature_path(tenant_id, name), body, if_match=if_match, validate_only=validate_only, wait=None)
        return await self._changed(tenant_id, call, name, enabled)

    async def _changed(self, tenant_id: str, call: Call, name: str, wanted: bool | None) -> Features:
        try:
            return read(await self._transport.send(call), Features)
        except PreconditionFailed as error:
            if error.tries == 1:
                raise
            # An earlier try, whose answer was lost, may have made the change, and the new etag with it.
            features = await self.get(tenant_id)
            found = next((feature for feature in features.features if feature.name == name), None)
            own = None if found is None or found.source != "tenant" else found.enabled
            if own is not wanted:
                raise
            return features
