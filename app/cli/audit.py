"""bf-admin audit list, export, verify, anchor"""

import sys
from datetime import UTC, datetime
from typing import Annotated, Any, get_args

import typer

from app.audit import anchors as anchoring
from app.audit import sealer, service
from app.audit import verify as verification
from app.audit.anchors import Anchor, Anchors
from app.audit.model import Record, Verified
from app.audit.queries import Filter, Outcome
from app.cli.failure import Failure, usage
from app.cli.installed import installed
from app.cli.output import Json, emit_json, run, settings, table
from app.settings import Settings

cli = typer.Typer(no_args_is_help=True)

Actor = Annotated[str | None, typer.Option(help="Of whom: key:ID, cli:USER, service:NAME.")]
Action = Annotated[str | None, typer.Option(help="For example tenant.suspend.")]
Target = Annotated[str | None, typer.Option(help="For example tenant/acme_corp.")]
TenantId = Annotated[str | None, typer.Option("--tenant-id", help="All that is about the tenant.")]
Ended = Annotated[str | None, typer.Option("--outcome", help=f"One of {', '.join(get_args(Outcome))}.")]
RequestId = Annotated[str | None, typer.Option(help="As an answer's X-Request-ID has it.")]
Since = Annotated[str | None, typer.Option("--from", help="From this time on, ISO 8601; UTC unless it says otherwise.")]
Until = Annotated[str | None, typer.Option("--to", help="Before this time.")]


def _filter(
    actor: str | None,
    action: str | None,
    target: str | None,
    tenant_id: str | None,
    outcome: str | None,
    request_id: str | None,
    since: str | None,
    until: str | None,
) -> Filter:
    if outcome is not None and outcome not in get_args(Outcome):
        raise usage({"--outcome": f"is one of {', '.join(get_args(Outcome))}"})
    return Filter(
        actor=actor,
        action=action,
        target=target,
        tenant_id=tenant_id,
        outcome=outcome,
        request_id=request_id,
        since=_time("--from", since),
        until=_time("--to", until),
    )


def _time(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise usage({option: "write a time as 2026-01-31T09:30:00Z"}) from None


def _document(record: Record) -> dict[str, Any]:
    from app.audit.schemas import AuditRecordOut

    return AuditRecordOut.of(record).model_dump(mode="json")


@cli.command("list")
def list_records(
    actor: Actor = None,
    action: Action = None,
    target: Target = None,
    tenant_id: TenantId = None,
    outcome: Ended = None,
    request_id: RequestId = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    as_json: Json = False,
) -> None:
    """Show who did what, the newest first."""
    wanted = _filter(actor, action, target, tenant_id, outcome, request_id, since, until)
    records = run(_list(settings(), wanted, limit))
    if as_json:
        emit_json({"items": [_document(record) for record in records]})
        return
    columns = ["id", "occurred_at", "actor", "action", "target", "outcome"]
    rows = [
        [str(r.id), f"{r.occurred_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}", r.actor, r.action, r.target, r.outcome]
        for r in records
    ]
    table(columns, rows)


async def _list(loaded: Settings, wanted: Filter, limit: int) -> list[Record]:
    async with installed(loaded) as db, db.connection() as conn:
        return (await service.page(conn, wanted, after=None, size=limit))[0]


@cli.command("export")
def export(
    actor: Actor = None,
    action: Action = None,
    target: Target = None,
    tenant_id: TenantId = None,
    outcome: Ended = None,
    request_id: RequestId = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Write all that fits as NDJSON, the newest first; with --json as one document."""
    run(_export(settings(), _filter(actor, action, target, tenant_id, outcome, request_id, since, until), as_json))


async def _export(loaded: Settings, wanted: Filter, as_json: bool) -> None:
    from app.audit.schemas import AuditRecordOut

    separator = ""
    async with installed(loaded) as db:
        sys.stdout.write('{"items": [' if as_json else "")
        async for records in service.export(db, wanted):
            for record in records:
                sys.stdout.write(f"{separator}{AuditRecordOut.of(record).model_dump_json()}")
                separator = ",\n" if as_json else "\n"
    sys.stdout.write("]}\n" if as_json else separator)


@cli.command("verify")
def verify(
    from_seq: Annotated[int | None, typer.Option(min=1, help="The link to begin at; the first by default.")] = None,
    as_json: Json = False,
) -> None:
    """Hash every row again, and name the first that is not what was sealed."""
    loaded = settings()
    found = run(_verify(loaded, from_seq))
    if as_json:
        from app.audit.schemas import VerifiedOut

        emit_json(VerifiedOut.of(found).model_dump(mode="json"))
    else:
        _tell(found)
    if found.bad is not None:
        raise typer.Exit(1)


def _tell(found: Verified) -> None:
    typer.echo(f"{found.rows} rows, links {found.first_seq} to {found.last_seq}, of chain {found.head.chain_id}.")
    if found.unsealed:
        typer.echo(f"{found.unsealed} rows are not sealed yet, the oldest for {found.unsealed_seconds:.0f} s.")
    if found.anchors is None and found.ok:
        typer.echo("No anchors were compared: that the end was cut off would not show. Set BF_AUDIT_ANCHOR_URL.")
    elif found.anchors is not None:
        typer.echo(f"{found.anchors} anchors compared.")
    if found.bad is None:
        typer.echo("The audit trail is as it was sealed.")
    else:
        typer.echo(f"bf-admin: {found.bad.fault}: {found.bad.detail}", err=True)


async def _verify(loaded: Settings, from_seq: int | None) -> Verified:
    async with installed(loaded) as db:
        return await verification.verify(db, anchors=Anchors.of(loaded), start=from_seq)


@cli.command("anchor")
def anchor(as_json: Json = False) -> None:
    """Seal what is recorded, and write the chain's head to BF_AUDIT_ANCHOR_URL now."""
    written = run(_anchor(settings()))
    document = None if written is None else {"url": written.name, **written.document}
    if as_json:
        emit_json({"anchor": document})
    elif written is None:
        typer.echo("The head of the chain is anchored already.")
    else:
        signed = "signed" if "signature" in written.document else "not signed: set BF_AUDIT_SIGNING_KEY"
        typer.echo(f"Link {written.seq} is anchored in {written.name}, {signed}.")


async def _anchor(loaded: Settings) -> Anchor | None:
    anchors = Anchors.of(loaded)
    async with installed(loaded) as db:
        if anchors is None:
            raise Failure("Nothing says where to: set BF_AUDIT_ANCHOR_URL.", exit_code=2, code="usage")
        await sealer.seal(db)
        return await anchoring.anchor(db, anchors, every=None)
