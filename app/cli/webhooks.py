"""bf-admin webhook create, list, show, delete, rotate, enable, test, deliveries, replay"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from app.allow import Allow
from app.cli.failure import Failure, usage
from app.cli.installed import installed
from app.cli.lifecycle import Yes, confirm, origin
from app.cli.output import Json, emit_json, run, settings, table
from app.db.pool import Connection
from app.integrations.endpoint import Policy
from app.settings import Settings
from app.webhooks.model import DeliveryStatus, Issued, Webhook

# What needs longer to load (the schemas, httpx) is imported where it is used.
if TYPE_CHECKING:
    from app.webhooks.schemas import DeliveryOut, WebhookOut

cli = typer.Typer(no_args_is_help=True)
WebhookId = Annotated[str, typer.Argument(metavar="ID")]
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
_SHOWN_AT_ONCE = 500


async def _locked(
    loaded: Settings, webhook_id: str, work: Callable[[Connection, Webhook], Awaitable[T]], *, lock: bool = True
) -> T:
    from app.webhooks import service

    async with installed(loaded) as db, db.transaction() as conn:
        return await work(conn, await service.require(conn, service.webhook_id(webhook_id), lock=lock))


def _checked(model: type[M], options: dict[str, str], body: dict[str, Any]) -> M:
    """`options` are the names of the fields. Raises Failure, naming them."""
    try:
        return model.model_validate({name: value for name, value in body.items() if value is not None})
    except ValidationError as error:
        wrong = {
            options.get(str(found["loc"][0]) if found["loc"] else "", "options"): found for found in error.errors()
        }
        raise usage({name: str(found["msg"]) for name, found in wrong.items()}) from None


@cli.command("create")
def create(
    url: Annotated[str, typer.Option(help="Where events are sent: https, on the public internet.")],
    description: Annotated[str, typer.Option(help="For people.")] = "",
    event_type: Annotated[list[str] | None, typer.Option(help="Again for more; every type by default.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Events of this tenant alone.")] = None,
    as_json: Json = False,
) -> None:
    """Make a webhook. Its secret is shown this once."""
    from app.webhooks.schemas import WebhookIn

    body = {"url": url, "description": description, "event_types": event_type or [], "tenant_id": tenant}
    names = {"url": "--url", "description": "--description", "event_types": "--event-type", "tenant_id": "--tenant"}
    _issued(run(_create(settings(), _checked(WebhookIn, names, body))), as_json=as_json)


async def _create(loaded: Settings, wanted: Any) -> Issued:
    from app.webhooks import service

    policy = Policy(Allow.parse(loaded.integration_allow))
    async with installed(loaded) as db, db.transaction() as conn:
        return await service.create(conn, wanted.new(), policy=policy, keyring=loaded.keyring(), origin=origin())


def _issued(issued: Issued, *, as_json: bool) -> None:
    from app.webhooks.schemas import IssuedWebhookOut

    if as_json:
        emit_json({**IssuedWebhookOut.issued(issued).model_dump(mode="json"), "secret": issued.secret})
        return
    typer.echo(issued.secret)
    typer.echo(f"Webhook {issued.webhook.id}: this secret is shown once.", err=True)


@cli.command("list")
def list_webhooks(
    tenant: Annotated[str | None, typer.Option(help="Those of this tenant.")] = None, as_json: Json = False
) -> None:
    """List webhooks, those of tenants' integrations too; the first 500."""
    from app.webhooks.schemas import WebhookOut

    found = [WebhookOut.of(one) for one in run(_every(settings(), tenant))]
    if as_json:
        emit_json({"items": [one.model_dump(mode="json") for one in found]})
        return
    rows = [
        [str(one.id), one.url, one.tenant_id or "-", one.capability or "-", one.disabled_reason or _health(one)]
        for one in found
    ]
    table(["id", "url", "tenant_id", "capability", "state"], rows)


def _health(webhook: "WebhookOut") -> str:
    return "enabled" if webhook.failing_since is None else f"failing since {webhook.failing_since:%Y-%m-%d %H:%M}"


async def _every(loaded: Settings, tenant: str | None) -> list[Webhook]:
    from app.webhooks import service

    async with installed(loaded) as db, db.connection() as conn:
        found, _ = await service.page(conn, tenant_id=tenant, after=None, size=_SHOWN_AT_ONCE)
        return found


@cli.command("show")
def show(webhook_id: WebhookId, as_json: Json = False) -> None:
    """Show one webhook, without its secret."""

    async def work(_: Connection, webhook: Webhook) -> Webhook:
        return webhook

    _say(run(_locked(settings(), webhook_id, work, lock=False)), as_json=as_json)


def _say(webhook: Webhook, *, as_json: bool) -> None:
    from app.webhooks.schemas import WebhookOut

    document = WebhookOut.of(webhook).model_dump(mode="json")
    if as_json:
        emit_json(document)
        return
    shown = {name: value for name, value in document.items() if value not in (None, "", [])}
    width = max(map(len, shown))
    for name, value in shown.items():
        typer.echo(f"{name:<{width}}  {', '.join(value) if isinstance(value, list) else value}")


@cli.command("delete")
def delete(webhook_id: WebhookId, yes: Yes = False, as_json: Json = False) -> None:
    """Send it nothing any more, what waits for it neither."""
    from app.webhooks import service

    confirm(f"Delete webhook {webhook_id}?", yes=yes)

    async def work(conn: Connection, webhook: Webhook) -> None:
        await service.delete(conn, webhook, origin=origin())

    run(_locked(settings(), webhook_id, work))
    if as_json:
        emit_json({"id": webhook_id, "deleted": True})
    else:
        typer.echo(f"Webhook {webhook_id} is deleted.")


@cli.command("rotate")
def rotate(
    webhook_id: WebhookId,
    overlap: Annotated[int, typer.Option(min=0, max=7 * 86400, help="Seconds that both secrets sign.")] = 86400,
    as_json: Json = False,
) -> None:
    """Give it another secret, which is shown this once."""
    from app.webhooks import service

    loaded = settings()

    async def work(conn: Connection, webhook: Webhook) -> Issued:
        wanted = timedelta(seconds=overlap)
        return await service.rotate(conn, webhook, keyring=loaded.keyring(), origin=origin(), overlap=wanted)

    _issued(run(_locked(loaded, webhook_id, work)), as_json=as_json)


@cli.command("enable")
def enable(webhook_id: WebhookId, as_json: Json = False) -> None:
    """Send to it again, after it has answered 410. What happened meanwhile is for a replay."""
    from app.webhooks import service

    async def work(conn: Connection, webhook: Webhook) -> Webhook:
        return await service.enable(conn, webhook, origin=origin())

    _say(run(_locked(settings(), webhook_id, work)), as_json=as_json)


@cli.command("test")
def send_test(webhook_id: WebhookId, as_json: Json = False) -> None:
    """Queue an event for it alone; a worker sends it, and `deliveries` says how that went."""
    from app.webhooks import service
    from app.webhooks.schemas import DeliveryOut

    async def work(conn: Connection, webhook: Webhook) -> "DeliveryOut":
        return DeliveryOut.of(await service.test(conn, webhook, origin=origin()))

    delivery = run(_locked(settings(), webhook_id, work, lock=False))
    if as_json:
        emit_json(delivery.model_dump(mode="json"))
    else:
        typer.echo(f"Delivery {delivery.id} is queued.")


@cli.command("deliveries")
def deliveries(
    webhook_id: WebhookId,
    status: Annotated[DeliveryStatus | None, typer.Option(help="Only these.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="So many of the newest.")] = 50,
    as_json: Json = False,
) -> None:
    """List what it was sent, the newest first."""
    from app.webhooks import service
    from app.webhooks.schemas import DeliveryOut

    async def work(conn: Connection, webhook: Webhook) -> list["DeliveryOut"]:
        found, _ = await service.deliveries(conn, webhook, status=status, before=None, size=limit)
        return [DeliveryOut.of(one) for one in found]

    found = run(_locked(settings(), webhook_id, work, lock=False))
    if as_json:
        emit_json({"items": [one.model_dump(mode="json") for one in found]})
        return
    rows = [
        [
            str(one.id),
            one.event_type,
            one.subject,
            one.status,
            str(one.attempts),
            "-" if one.response_status is None else str(one.response_status),
            "-" if one.error is None else one.error.detail,
        ]
        for one in found
    ]
    table(["id", "event_type", "subject", "status", "attempts", "response", "error"], rows)


@cli.command("replay")
def replay(
    webhook_id: WebhookId,
    delivery: Annotated[str | None, typer.Option(metavar="ID", help="This delivery.")] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%dT%H:%M:%S%z"], help="Every event since then.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send events again, under the ids that they had."""
    from app.webhooks import service
    from app.webhooks.schemas import ReplayIn

    names = {"delivery_id": "--delivery", "since": "--since"}
    wanted = _checked(ReplayIn, names, {"delivery_id": delivery, "since": since})

    async def work(conn: Connection, webhook: Webhook) -> tuple[int, datetime | None]:
        if wanted.delivery_id is not None:
            await service.replay_one(conn, webhook, wanted.delivery_id, origin=origin())
            return 1, None
        if wanted.since is None:
            raise Failure("--delivery or --since is needed", exit_code=2, code="usage")
        return await service.replay_since(conn, webhook, wanted.since, origin=origin())

    replayed, following = run(_locked(settings(), webhook_id, work, lock=False))
    if as_json:
        emit_json({"replayed": replayed, "next_since": following})
        return
    typer.echo(f"{replayed} queued.")
    if following is not None:
        typer.echo(f"There are more: --since {following.isoformat()}", err=True)
