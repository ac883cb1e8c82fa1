"""bf-admin features list, enable, disable, reset"""

from typing import Annotated

import typer

from app.cli.installed import installed
from app.cli.lifecycle import origin
from app.cli.output import Json, emit_json, run, settings, table
from app.features import queries, service
from app.features.model import TenantFeature, missing
from app.registry import service as registry
from app.settings import Settings

cli = typer.Typer(no_args_is_help=True)
TenantId = Annotated[str, typer.Argument(metavar="ID")]
Name = Annotated[str, typer.Argument(metavar="FEATURE")]


@cli.command("list")
def list_features(tenant_id: TenantId, as_json: Json = False) -> None:
    """List a tenant's features, and what decides about each: the default, its tier, or the tenant itself."""
    _say(run(_list(settings(), tenant_id)), as_json=as_json)


@cli.command("enable")
def enable(tenant_id: TenantId, name: Name, as_json: Json = False) -> None:
    """Enable a feature for a tenant, whatever its tier includes."""
    _say(run(_set(settings(), tenant_id, name, enabled=True)), as_json=as_json, name=name)


@cli.command("disable")
def disable(tenant_id: TenantId, name: Name, as_json: Json = False) -> None:
    """Disable a feature for a tenant, whatever its tier includes."""
    _say(run(_set(settings(), tenant_id, name, enabled=False)), as_json=as_json, name=name)


@cli.command("reset")
def reset(tenant_id: TenantId, name: Name, as_json: Json = False) -> None:
    """Leave a feature to the tenant's tier again."""
    _say(run(_set(settings(), tenant_id, name, enabled=None)), as_json=as_json, name=name)


async def _list(loaded: Settings, tenant_id: str) -> list[TenantFeature]:
    async with installed(loaded) as db, db.connection() as conn:
        tenant = await registry.require(conn, tenant_id)
        return await queries.of_tenant(conn, tenant.tenant_id)


async def _set(loaded: Settings, tenant_id: str, name: str, *, enabled: bool | None) -> list[TenantFeature]:
    async with installed(loaded) as db, db.transaction() as conn:
        tenant = await registry.require(conn, tenant_id, lock=True)
        if enabled is None:
            return await service.reset(conn, tenant, name, origin=origin())
        return await service.override(conn, tenant, name, enabled=enabled, origin=origin())


def _say(features: list[TenantFeature], *, as_json: bool, name: str | None = None) -> None:
    """All of them; for people, after a change, the one called `name`."""
    if as_json:
        from app.features.schemas import FeaturesOut

        emit_json(FeaturesOut.of(features).model_dump(mode="json"))
        return
    lacking = missing(features)
    rows = [
        [f.name, "on" if f.enabled else "off", f.source, _remark(f, lacking.get(f.name, []))]
        for f in features
        if name in {None, f.name}
    ]
    table(["feature", "enabled", "source", "remark"], rows)


def _remark(feature: TenantFeature, lacking: list[str]) -> str:
    if not feature.known:
        return "not in the catalogue"
    return f"requires {', '.join(lacking)}" if lacking else ""
