"""bf-admin catalog features, tiers, put-feature, put-tier"""

from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from app.catalog import queries, service
from app.catalog.model import Feature, Tier
from app.cli.failure import usage
from app.cli.installed import installed
from app.cli.lifecycle import origin
from app.cli.output import Json, emit_json, run, settings, table
from app.settings import Settings

cli = typer.Typer(no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="a-z, 0-9 and _; a letter first.")]
Description = Annotated[str, typer.Option("--description", help="For people.")]
M = TypeVar("M", bound=BaseModel)


@cli.command("features")
def list_features(as_json: Json = False) -> None:
    """List the features there are."""
    features = run(_features(settings()))
    if as_json:
        emit_json({"items": [asdict(feature) for feature in features]})
        return
    rows = [
        [f.name, "everybody" if f.enabled_by_default else f.tier or "-", ", ".join(f.requires) or "-", f.description]
        for f in features
    ]
    table(["feature", "included_from", "requires", "description"], rows)


@cli.command("tiers")
def list_tiers(as_json: Json = False) -> None:
    """List the tiers there are, the lowest first."""
    tiers = run(_tiers(settings()))
    if as_json:
        emit_json({"items": [asdict(tier) for tier in tiers]})
        return
    table(["tier", "rank", "description"], [[tier.name, str(tier.rank), tier.description] for tier in tiers])


@cli.command("put-feature")
def put_feature(
    name: Name,
    description: Description = "",
    tier: Annotated[str | None, typer.Option("--tier", help="The lowest one that includes it.")] = None,
    by_default: Annotated[bool, typer.Option("--enabled-by-default", help="Every tenant has it.")] = False,
    requires: Annotated[list[str] | None, typer.Option("--requires", help="What it cannot do without.")] = None,
    as_json: Json = False,
) -> None:
    """Add a feature, or replace the whole of it. Tenants get, or lose, what follows for them."""
    from app.catalog.schemas import FeatureIn

    body = {"description": description, "tier": tier, "enabled_by_default": by_default, "requires": requires or []}
    wanted = _checked(FeatureIn, name, body).feature(name)
    run(_put_feature(settings(), wanted))
    _done(asdict(wanted), as_json=as_json)


@cli.command("put-tier")
def put_tier(
    name: Name,
    rank: Annotated[int, typer.Option("--rank", help="It includes what tiers of a lower rank include.")],
    description: Description = "",
    as_json: Json = False,
) -> None:
    """Add a tier, or replace the whole of it. Its tenants get, or lose, what follows for them."""
    from app.catalog.schemas import TierIn

    wanted = _checked(TierIn, name, {"rank": rank, "description": description}).tier(name)
    run(_put_tier(settings(), wanted))
    _done(asdict(wanted), as_json=as_json)


def _checked(model: type[M], name: str, body: dict[str, Any]) -> M:
    """Raises Failure, naming the options."""
    from app.catalog.schemas import checked_name

    try:
        checked_name(model, name)
        return model.model_validate(body)
    except ValidationError as error:
        wrong = {"-".join(map(str, found["loc"][:1])).replace("_", "-"): found["msg"] for found in error.errors()}
        raise usage({f"--{option}" if option else "NAME": said for option, said in wrong.items()}) from None


def _done(document: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit_json(document)
    else:
        typer.echo(f"The catalogue has {document['name']}.")


async def _features(loaded: Settings) -> list[Feature]:
    async with installed(loaded) as db, db.connection() as conn:
        return await queries.features(conn)


async def _tiers(loaded: Settings) -> list[Tier]:
    async with installed(loaded) as db, db.connection() as conn:
        return await queries.tiers(conn)


async def _put_feature(loaded: Settings, wanted: Feature) -> None:
    async with installed(loaded) as db, db.transaction() as conn:
        await queries.lock(conn, actor=origin().actor)
        await service.put_feature(conn, wanted, await service.feature(conn, wanted.name), origin=origin())


async def _put_tier(loaded: Settings, wanted: Tier) -> None:
    async with installed(loaded) as db, db.transaction() as conn:
        await queries.lock(conn, actor=origin().actor)
        await service.put_tier(conn, wanted, await service.tier(conn, wanted.name), origin=origin())
