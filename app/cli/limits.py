"""bf-admin limits get, set, recount, catalog, define; bf-admin usage"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final

import typer

from app.cli.failure import usage as wrong_usage
from app.cli.installed import installed
from app.cli.lifecycle import origin
from app.cli.output import Json, emit_json, run, settings, table
from app.limits import model, queries, service
from app.limits import usage as measuring
from app.limits.model import Enforcement, Limit, TenantLimits
from app.registry import service as registry
from app.settings import Settings

cli = typer.Typer(no_args_is_help=True)
TenantId = Annotated[str, typer.Argument(metavar="ID")]
_EVENTS: Final = 20
_BACK: Final = "default"


def register(commands: typer.Typer) -> None:
    commands.command("usage")(show_usage)


# of a tenant -----------------------------------------------------------------------------------------


@cli.command("get")
def get(tenant_id: TenantId, as_json: Json = False) -> None:
    """Show a tenant's limits, and where each comes from."""
    _show(run(_get(settings(), tenant_id)), [], as_json=as_json)


async def _get(loaded: Settings, tenant_id: str) -> TenantLimits:
    async with installed(loaded) as db, db.connection() as conn:
        return await service.get(conn, await registry.require(conn, tenant_id))


@cli.command("set")
def change(
    tenant_id: TenantId,
    values: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE...", help="`max_budgets=500`; `=default` goes back.")
    ],
    as_json: Json = False,
) -> None:
    """Set limits of a tenant. One may be lower than what is used: there is no more of it then."""
    limits, exceeded = run(_change(settings(), tenant_id, dict(map(_assignment, values))))
    _show(limits, exceeded, as_json=as_json)


def _assignment(text: str) -> tuple[str, int | None]:
    name, equals, value = text.partition("=")
    if equals and value == _BACK:
        return name, None
    if not (equals and value.isascii() and value.isdigit() and len(value) <= 15):
        raise wrong_usage({text: f"write NAME=NUMBER or NAME={_BACK}"})
    return name, int(value)


async def _change(
    loaded: Settings, tenant_id: str, changes: dict[str, int | None]
) -> tuple[TenantLimits, Sequence[str]]:
    async with installed(loaded) as db, db.transaction() as conn:
        wrong = service.wrong(await queries.catalogue(conn), changes)
        if wrong:
            raise wrong_usage({error.pointer.lstrip("/"): error.detail for error in wrong})
        tenant = await registry.require(conn, tenant_id, lock=True)
        before = await service.get(conn, tenant)
        after = await service.change(conn, tenant, changes, before=before, origin=origin())
        return after, await service.exceeded(conn, tenant, after)


def _show(limits: TenantLimits, exceeded: Sequence[str], *, as_json: bool) -> None:
    for name in exceeded:
        typer.echo(f"warning: more of {name} is used already; there can be no more", err=True)
    values = limits.effective
    if as_json:
        sources = {name: value.source for name, value in values.items()}
        emit_json({**{name: value.value for name, value in values.items()}, "sources": sources})
        return
    rows = [[name, _cell(value.value, "no limit"), str(value.source)] for name, value in values.items()]
    table(["limit", "value", "source"], rows)


def _cell(value: object, nothing: str = "-") -> str:
    return nothing if value is None else str(value)


@cli.command("recount")
def recount(tenant_id: TenantId, as_json: Json = False) -> None:
    """Count a tenant's rows anew: after a restore, or rows that were written past the triggers."""
    counted = run(_recount(settings(), tenant_id))
    if as_json:
        emit_json(
            {"tenant_id": tenant_id, "counters": {n: {"was": was, "is": now} for n, (was, now) in counted.items()}}
        )
        return
    rows = [[name, str(was), str(now)] for name, (was, now) in sorted(counted.items())]
    table(["limit", "was", "is"], rows)


async def _recount(loaded: Settings, tenant_id: str) -> dict[str, tuple[int, int]]:
    async with installed(loaded) as db, db.transaction() as conn:
        return await measuring.recount(conn, await registry.require(conn, tenant_id), origin=origin())


def show_usage(tenant_id: TenantId, as_json: Json = False) -> None:
    """Show how much of its limits a tenant uses."""
    document = run(_usage(settings(), tenant_id))
    if as_json:
        emit_json(document)
        return
    rows = [
        [
            each["name"],
            _cell(each["used"]),
            _cell(each["allowed"], "no limit"),
            "-" if each["percentage"] is None else f"{each['percentage']} %",
            each["enforcement"],
        ]
        for each in document["usage"]
    ]
    table(["limit", "used", "allowed", "percentage", "enforcement"], rows)


async def _usage(loaded: Settings, tenant_id: str) -> dict[str, Any]:
    from app.limits.schemas import TenantUsageOut

    async with installed(loaded) as db, db.transaction() as conn:
        tenant = await registry.require(conn, tenant_id)
        measured = await measuring.measure(conn, tenant)
        events = await queries.events(conn, tenant_id, limit=_EVENTS)
    return TenantUsageOut.of(measured, events).model_dump(mode="json")


# the catalogue ---------------------------------------------------------------------------------------


@cli.command("catalog")
def catalog(as_json: Json = False) -> None:
    """List the limits that there are."""
    limits = run(_catalogue(settings()))
    if as_json:
        emit_json({"items": [_document(limit) for limit in limits]})
        return
    rows = [
        [
            limit.name,
            limit.unit,
            f"{limit.minimum} to {limit.maximum}",
            _cell(limit.default, "no limit"),
            ", ".join(f"{tier} {value}" for tier, value in sorted(limit.tiers.items())) or "-",
            str(limit.enforcement),
        ]
        for limit in limits
    ]
    table(["limit", "unit", "range", "default", "tiers", "enforcement"], rows)


def _document(limit: Limit) -> dict[str, Any]:
    from app.limits.schemas import LimitOut

    return LimitOut.of(limit).model_dump(mode="json")


async def _catalogue(loaded: Settings) -> list[Limit]:
    async with installed(loaded) as db, db.connection() as conn:
        return await queries.catalogue(conn)


@cli.command("define")
def define(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    description: Annotated[str | None, typer.Option(help="For people.")] = None,
    unit: Annotated[str | None, typer.Option(help="Needed for a new one.")] = None,
    minimum: Annotated[int | None, typer.Option(help="The lowest value it takes.")] = None,
    maximum: Annotated[int | None, typer.Option(help="The highest. Needed for a new one.")] = None,
    value: Annotated[
        str | None, typer.Option("--default", metavar="N|none", help="Of tenants without another.")
    ] = None,
    tiers: Annotated[
        list[str] | None, typer.Option("--tier", metavar="TIER=N", help="`=default`: nothing else.")
    ] = None,
    enforcement: Annotated[Enforcement | None, typer.Option(help="What happens to who goes over.")] = None,
    as_json: Json = False,
) -> None:
    """Add a limit to the catalogue, or change what is said of one."""
    given: dict[str, Any] = {
        "description": description, "unit": unit, "minimum": minimum, "maximum": maximum, "enforcement": enforcement,
    }  # fmt: skip
    changes = {key: each for key, each in given.items() if each is not None}
    if value is not None:
        changes["default"] = None if value == "none" else _assignment(f"--default={value}")[1]
    limit = run(_define(settings(), name, changes, dict(map(_assignment, tiers or []))))
    if as_json:
        emit_json(_document(limit))
    else:
        typer.echo(f"Limit {limit.name} is {limit.enforcement}, by default {_cell(limit.default, 'no limit')}.")


async def _define(loaded: Settings, name: str, changes: dict[str, Any], tiers: dict[str, int | None]) -> Limit:
    from pydantic import ValidationError

    from app.limits.schemas import LimitFields, LimitIn

    async with installed(loaded) as db, db.transaction() as conn:
        before = await service.find(conn, name, lock=True)
        said = {} if before is None else {key: getattr(before, key) for key in LimitFields.model_fields}
        merged = {**said.get("tiers", {}), **tiers}
        said |= {**changes, "tiers": {tier: each for tier, each in merged.items() if each is not None}}
        try:
            limit = LimitIn.model_validate(said).limit(model.limit_name(name))
        except ValidationError as error:
            raise wrong_usage({".".join(map(str, e["loc"])): e["msg"] for e in error.errors()}) from None
        except ValueError as error:
            raise wrong_usage({name: str(error)}) from None
        wrong = await service.wrong_definition(conn, limit)
        if wrong:
            raise wrong_usage({error.pointer.lstrip("/"): error.detail for error in wrong})
        await service.define(conn, limit, before=before, origin=origin())
    return replace(limit)
