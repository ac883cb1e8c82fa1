"""bf-admin integrations list, get, set, delete, check"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from app.allow import Allow
from app.cli.failure import Failure, usage
from app.cli.installed import installed
from app.cli.lifecycle import Yes, confirm, origin
from app.cli.output import Json, emit_json, run, settings, table
from app.errors import Invalid
from app.integrations.endpoint import Policy
from app.integrations.model import Capability, Integration
from app.registry import service as registry
from app.settings import Settings

# What needs longer to load (the schemas, httpx) is imported where it is used.
if TYPE_CHECKING:
    from app.integrations.model import Outcome
    from app.integrations.schemas import IntegrationIn, IntegrationOut

cli = typer.Typer(no_args_is_help=True)
TenantId = Annotated[str, typer.Argument(metavar="TENANT")]
Named = Annotated[str, typer.Argument(metavar="CAPABILITY", help=f"One of {', '.join(Capability)}.")]


def _policy(loaded: Settings) -> Policy:
    return Policy(Allow.parse(loaded.integration_allow))


def _out(loaded: Settings, integration: Integration) -> "IntegrationOut":
    from app.integrations.schemas import IntegrationOut

    return IntegrationOut.of(integration, _policy(loaded))


@cli.command("list")
def list_integrations(tenant_id: TenantId, as_json: Json = False) -> None:
    """List what a tenant is integrated with."""
    loaded = settings()
    found = [_out(loaded, one) for one in run(_every(loaded, tenant_id))]
    if as_json:
        emit_json({"items": [one.model_dump(mode="json") for one in found]})
        return
    if not found:
        typer.echo(f"Tenant {tenant_id} has no integrations.", err=True)
        return
    rows = [
        [
            one.capability,
            "-" if one.enabled is None else str(one.enabled).lower(),
            one.endpoint or "-",
            " ".join(name for name, credential in one.credentials.items() if credential.set) or "-",
            str(one.valid).lower(),
        ]
        for one in found
    ]
    table(["capability", "enabled", "endpoint", "credentials", "valid"], rows)


async def _every(loaded: Settings, tenant_id: str) -> list[Integration]:
    from app.integrations import service

    async with installed(loaded) as db, db.transaction() as conn:
        tenant = await registry.require(conn, tenant_id)
        found = await service.every(conn, tenant)
        await service.note_read(conn, tenant, found, origin=origin())
        return found


@cli.command("get")
def get(tenant_id: TenantId, capability: Named, as_json: Json = False) -> None:
    """Show one integration; of its credentials, since when they are set."""
    loaded = settings()
    _say(_out(loaded, run(_get(loaded, tenant_id, capability))), as_json=as_json)


async def _get(loaded: Settings, tenant_id: str, capability: str) -> Integration:
    from app.integrations import service

    async with installed(loaded) as db, db.transaction() as conn:
        tenant = await registry.require(conn, tenant_id)
        found = await service.require(conn, tenant, capability)
        await service.note_read(conn, tenant, [found], origin=origin())
        return found


def _say(shown: "IntegrationOut", *, as_json: bool) -> None:
    if as_json:
        emit_json(shown.model_dump(mode="json"))
        return
    lines = shown.model_dump(mode="json", exclude_none=True, exclude={"credentials", "errors", "stored"})
    for name, credential in shown.credentials.items():
        if credential.set_at is not None:
            lines[name] = f"set {_age(datetime.now(UTC) - credential.set_at)} ago by {credential.set_by}"
    if not shown.valid:
        lines["stored"] = shown.stored
        lines["errors"] = "; ".join(f"{fault.pointer or 'it'} {fault.detail}" for fault in shown.errors)
    width = max(map(len, lines))
    for name, value in lines.items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        typer.echo(f"{name:<{width}}  {text}")


def _age(age: timedelta) -> str:
    if age.days:
        return f"{age.days} d"
    minutes = age.seconds // 60
    return f"{minutes // 60} h" if minutes >= 60 else f"{minutes} min"


@cli.command("set")
def set_integration(
    tenant_id: TenantId,
    capability: Named,
    enabled: Annotated[bool | None, typer.Option("--enabled/--disabled", help="Whether it is used.")] = None,
    endpoint: Annotated[str | None, typer.Option(help='Its URL; "" removes it.')] = None,
    realm: Annotated[str | None, typer.Option(help='Of auth_rbac; "" removes it.')] = None,
    level: Annotated[str | None, typer.Option(help='Of audit_compliance; "" removes it.')] = None,
    model: Annotated[list[str] | None, typer.Option(help="Of ai_orchestration; again for more.")] = None,
    secret: Annotated[
        str | None, typer.Option(metavar="NAME", help="A credential, read from standard input: never an argument.")
    ] = None,
    secret_file: Annotated[list[str] | None, typer.Option(metavar="NAME=PATH", help="A credential in a file.")] = None,
    remove_secret: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A credential to forget.")] = None,
    as_json: Json = False,
) -> None:
    """Set an integration: what is not named stays as it is."""
    loaded = settings()
    texts = {"endpoint": endpoint, "realm": realm, "level": level}
    given: dict[str, Any] = {name: text or None for name, text in texts.items() if text is not None}
    given |= {} if enabled is None else {"enabled": enabled}
    given |= {"models": model} if model else {}
    credentials = _credentials(secret, secret_file or [], remove_secret or [])
    _say(_out(loaded, run(_set(loaded, tenant_id, _known(capability), given, credentials))), as_json=as_json)


def _known(capability: str) -> Capability:
    try:
        return Capability(capability)
    except ValueError:
        raise usage({"CAPABILITY": f"must be one of {', '.join(Capability)}"}) from None


def _credentials(secret: str | None, secret_files: list[str], removed: list[str]) -> dict[str, str | None]:
    """Raises Failure. Newlines at the end of a secret are whoever wrote the file's."""
    found: dict[str, str | None] = dict.fromkeys(removed)
    for text in secret_files:
        name, separator, path = text.partition("=")
        if not separator:
            raise usage({"--secret-file": f"write NAME=PATH, not {text}"})
        try:
            found[name] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise usage({"--secret-file": f"cannot read {path}: {error}"}) from None
    if secret is not None:
        found[secret] = (
            typer.prompt(secret, hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read().rstrip("\r\n")
        )
    return found


async def _set(
    loaded: Settings, tenant_id: str, capability: Capability, given: dict[str, Any], credentials: dict[str, str | None]
) -> Integration:
    from app.integrations import service

    async with installed(loaded) as db, db.transaction() as conn:
        tenant = await registry.require(conn, tenant_id, lock=True)
        registry.require_changeable(tenant)
        before = await service.get(conn, tenant, capability)
        stored = before.stored if before is not None and isinstance(before.stored, dict) else {}
        change = _read(capability, {**stored, **given, "credentials": credentials}).change()
        try:
            return await service.put(
                conn, tenant, capability, change, policy=_policy(loaded), keyring=loaded.keyring(), origin=origin()
            )
        except Invalid as error:
            raise usage({_option(fault.pointer.split("/")[1:]): fault.detail for fault in error.errors}) from None


def _read(capability: Capability, document: dict[str, Any]) -> "IntegrationIn":
    from app.integrations.schemas import SCHEMAS, in_words

    try:
        return SCHEMAS[capability].model_validate(document)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise usage({_option([str(part) for part in one["loc"]]): in_words(one) for one in found}) from None


def _option(location: list[str]) -> str:
    """Which option it was that has set it."""
    if location[0] == "credentials":
        return f"credential {location[-1]}"
    return {"models": "--model", "enabled": "--enabled"}.get(location[0], f"--{location[0]}")


@cli.command("delete")
def delete(tenant_id: TenantId, capability: Named, yes: Yes = False, as_json: Json = False) -> None:
    """Remove an integration and its credentials."""
    confirm(f"Delete {capability} of tenant {tenant_id}, and its credentials?", yes=yes)
    run(_delete(settings(), tenant_id, capability))
    if as_json:
        emit_json({"tenant_id": tenant_id, "capability": capability, "deleted": True})
    else:
        typer.echo(f"Tenant {tenant_id} has no {capability} any more.")


async def _delete(loaded: Settings, tenant_id: str, capability: str) -> None:
    from app.integrations import service

    async with installed(loaded) as db, db.transaction() as conn:
        tenant = await registry.require(conn, tenant_id, lock=True)
        registry.require_changeable(tenant)
        await service.delete(conn, tenant, capability, origin=origin())


@cli.command("check")
def check(tenant_id: TenantId, capability: Named, as_json: Json = False) -> None:
    """Try an integration's endpoint from here, without credentials. Exit code 1 where it does not answer well."""
    from app.integrations.schemas import CheckOut

    outcome = run(_check(settings(), tenant_id, capability))
    if as_json:
        emit_json(CheckOut.of(outcome).model_dump(mode="json"))
    elif outcome.fault is None:
        typer.echo(f"It answered {outcome.status} after {outcome.latency_ms:g} ms.")
    if outcome.fault is not None:
        if as_json:
            raise typer.Exit(1)
        raise Failure(f"{outcome.fault.detail} ({outcome.fault.code}, after {outcome.latency_ms:g} ms)")


async def _check(loaded: Settings, tenant_id: str, capability: str) -> "Outcome":
    from app.integrations import service
    from app.integrations.check import Checker

    async with installed(loaded) as db, db.connection() as conn:
        endpoint = service.endpoint_of(await service.require(conn, await registry.require(conn, tenant_id), capability))
    return await Checker(_policy(loaded)).check(endpoint)
