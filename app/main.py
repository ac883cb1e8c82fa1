"""HTTP composition root."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from fastapi import APIRouter, Depends, FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.routing import BaseRoute

from app.access import routes as access
from app.access.schemas import ApiKeyOut, NewApiKeyOut
from app.allow import Allow
from app.apikeys.cache import KeyCache
from app.apikeys.service import Keys
from app.apikeys.use import KeyUse
from app.audit import routes as audit
from app.audit.anchors import Anchors
from app.audit.denials import Denials
from app.audit.schemas import AuditRecordOut, VerifiedOut
from app.catalog import routes as catalog
from app.collect import routes as collect
from app.collect.schemas import PAGES
from app.config import routes as config
from app.config.schemas import VersionOut
from app.dashboard import routes as dashboard
from app.dashboard.access import Page
from app.dashboard.edge import PageEdge
from app.db.pool import Database
from app.db.pools import ddl_database, health_database, request_database
from app.db.readiness import Readiness
from app.errors import AppError
from app.features import ofrep
from app.features import routes as features
from app.features.cache import FlagCache
from app.health import routes as health
from app.health import tenant_routes as tenant_health
from app.health.model import Pool
from app.health.schemas import HealthSummary
from app.health.summary import Summary, thresholds_of
from app.health.tenant_schemas import TenantHealth
from app.http import auth, problem
from app.http.context import QUIET_PATHS, RequestContext
from app.http.dependencies import HttpServices
from app.http.depth import refuse_deep_json
from app.http.media import refuse_other_media
from app.http.openapi import tidied
from app.http.pagination import PageTokens
from app.http.query import refuse_unknown_query
from app.http.rates import Limits, RateLimits
from app.integrations import routes as integrations
from app.integrations.check import Checker
from app.integrations.endpoint import Policy
from app.integrations.request import Rules
from app.integrations.schemas import CheckOut, IntegrationList, IntegrationOut
from app.isolation import routes as isolation
from app.isolation import service as isolation_service
from app.kinds import RULES
from app.limits import routes as limits
from app.log import logger
from app.metrics import routes as metrics
from app.metrics.exposition import Exposition
from app.metrics.requests import Requests
from app.metrics.service import FleetFigures
from app.operations import routes as operations
from app.operations.rules import AllRules
from app.operations.schemas import OperationOut, ProblemOut
from app.operations.waiter import Waiter
from app.plans import routes as plans
from app.plans.schemas import StoredPlanOut
from app.release import release
from app.schema import files, script, startup
from app.schema import routes as schema
from app.schema.expected import ExpectedTenants
from app.schema.script import Target
from app.sessions.model import Lifetime
from app.settings import Settings
from app.tenants import backup_routes as backups
from app.tenants import bulk_routes as bulk
from app.tenants import lifecycle_routes as lifecycle
from app.tenants import repair_routes as repair
from app.tenants import routes as tenants
from app.tenants.repair_schemas import VerificationOut
from app.tenants.schemas import TenantFull, TenantOut
from app.tokens.provider import Provider
from app.tokens.signin import SignIn
from app.tokens.verifier import Verifier
from app.tracing import Tracing, of_environment
from app.webhooks import routes as webhooks
from app.webhooks.schemas import DeliveryOut, IssuedWebhookOut, ReplayOut, WebhookOut
from app.worker import Worker

_log = logger(__name__)
MAX_BODY = 1024 * 1024
_WEBHOOKS = (WebhookOut, IssuedWebhookOut, DeliveryOut, ReplayOut)
_INTEGRATIONS = (IntegrationOut, IntegrationList, CheckOut)
_ROUTERS = (
    schema.router,
    plans.router,
    bulk.router,
    tenants.router,
    lifecycle.router,
    backups.router,
    repair.router,
    config.router,
    integrations.router,
    features.router,
    limits.router,
    catalog.router,
    access.router,
    ofrep.router,
    webhooks.router,
    operations.router,
    isolation.router,
    collect.router,
    audit.router,
    health.router,
    tenant_health.router,
    metrics.router,
)
_TAGS = {
    "schema": "What is installed, bringing it up to date, and taking it away",
    "tenants": "Provisioning, reading and changing tenants",
    "plans": "What destruction is about to take, and who agrees",
    "configuration": "A tenant's configuration, its history, and the way back",
    "features": "What a tenant may use, and why",
    "catalog": "What there is to choose from",
    "api-keys": "Who may call: making, rotating and revoking API keys",
    "ofrep": "What a tenant may use, by the OpenFeature remote evaluation protocol",
    "integrations": "What a tenant is connected with, and whether it answers",
    "verification": "Whether tenants are as they must be, and mending what is not",
    "limits": "How much a tenant may use, and how much of it it does",
    "webhooks": "Telling others what happens: CloudEvents, signed, at least once",
    "isolation": "Whether every tenant is held apart",
    "operations": "Long work: following it, stopping it, doing it again",
    "audit": "Who did what, and proof that nothing of it was altered",
    "health": "How the service is, and each tenant: probes, checks, reasons and what mends them",
    "monitoring": "Sizes, rows, indexes, statements and connections, as they were last looked at",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Services(HttpServices):
    """Everything the routes of this process share."""

    waiter: Waiter
    denials: Denials
    anchors: Anchors | None
    flags: FlagCache
    worker: Worker | None
    target: Target
    rules: AllRules
    integrations: Rules
    checker: Checker
    delete_grace: timedelta
    backups_configured: bool
    expected: ExpectedTenants
    second_approver: bool
    summary: Summary
    figures: FleetFigures
    exposition: Exposition
    pools: Mapping[str, Database]
    page: Page
    sign_in: SignIn | None

    def release(self) -> None:
        """The process is about to stop: nobody waits any longer, and no new job is taken."""
        self.readiness.draining = True
        self.waiter.release()
        if self.worker is not None:
            self.worker.stop()


def create_app(settings: Settings, *, with_worker: bool = False) -> FastAPI:
    """The application; it connects when it starts, and starts without its database too."""
    tracing, requests = of_environment(), Requests()
    app = FastAPI(
        title="APG Budgeting & Forecasting: tenant control plane",
        version=release(),
        summary="Provisions, configures, migrates and watches tenants, each in a PostgreSQL schema of its own.",
        lifespan=_lifespan(settings, with_worker=with_worker, tracing=tracing, requests=requests),
        telemetry=_telemetry(tracing),
        docs_url=None,  # FastAPI's pages load their scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,  # to wherever the Host header says; one address is enough
        openapi_tags=[{"name": name, "description": description} for name, description in _TAGS.items()],
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "/", "description": "Where this document came from"}],
        separate_input_output_schemas=False,
        routes=_routes(),
    )
    rates = Limits(requests=settings.requests_rate(), failures=settings.failures_rate(), logins=settings.logins_rate())
    app.add_middleware(RateLimits, limits=rates)
    app.add_middleware(
        RequestContext,
        max_body_size=MAX_BODY,
        deadline=settings.request_timeout,
        watch=requests,
        current=None if tracing is None else tracing.traceparent,
    )
    app.add_middleware(PageEdge)
    problem.install(app)
    auth.require_declared_roles(app)
    _describe(app)
    return app


def _telemetry(tracing: Tracing | None) -> TelemetryConfig:
    """FastAPI's own spans of requests; figures are Prometheus's, and the log is ours."""
    return {
        "tracing": tracing is not None,
        "tracer_provider": None if tracing is None else tracing.provider,
        "operation_spans": False,
        "metrics": False,
        "logs": False,
        "auto_configure": False,
        "exclude": lambda scope: scope["path"] in QUIET_PATHS,
    }


@cache
def _routes() -> list[BaseRoute]:
    """Shared by the applications of a process: reading their signatures is most of what it takes to make one."""
    every = APIRouter(generate_unique_id_function=lambda route: route.name)
    for router in _ROUTERS:
        first = [Depends(refuse_unknown_query), Depends(refuse_other_media), Depends(refuse_deep_json)]
        every.include_router(router, max_body_size=MAX_BODY, dependencies=first)
    every.include_router(dashboard.router, max_body_size=MAX_BODY)  # its forms are no JSON
    return every.routes


def _describe(app: FastAPI) -> None:
    generate = app.openapi

    @cache
    def openapi() -> dict[str, object]:
        document = generate()
        schemas = document["components"]["schemas"]
        # FastAPI leaves nulls out of examples, and knows nothing of what is only ever a failure.
        for model in (
            ProblemOut,
            OperationOut,
            TenantOut,
            TenantFull,
            VersionOut,
            AuditRecordOut,
            VerifiedOut,
            VerificationOut,
            *_INTEGRATIONS,
            *_WEBHOOKS,
            *PAGES,
            ApiKeyOut,
            NewApiKeyOut,
            StoredPlanOut,
            HealthSummary,
            TenantHealth,
        ):
            examples = model.model_json_schema()["examples"]
            schemas.setdefault(model.__name__, model.model_json_schema())["examples"] = examples
        return tidied(document)

    app.openapi = openapi  # type: ignore[method-assign]


def _lifespan(
    settings: Settings, *, with_worker: bool, tracing: Tracing | None, requests: Requests
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = request_database(settings, tracing=tracing)
        ddl = ddl_database(settings, application_name="bf-admin api ddl", tracing=tracing)
        looking = health_database(settings)
        readiness = Readiness()
        keys, use = Keys(settings.api_key_pepper.get_secret_value()), KeyUse(database)
        provider = Provider.of(settings)
        policy = Policy(Allow.parse(settings.integration_allow))
        services = Services(
            database=database,
            keys=keys,
            known_keys=KeyCache(keys, database, settings.direct_dsn(), use=use),
            access_tokens=None if provider is None else Verifier(provider),
            page_tokens=PageTokens.of(settings.api_key_pepper.get_secret_value()),
            waiter=Waiter(database, settings.direct_dsn()),
            flags=FlagCache(database, settings.direct_dsn(), max_age=settings.flags_max_age),
            readiness=readiness,
            denials=Denials(database),
            anchors=Anchors.of(settings),
            target=files.target(settings),
            rules=RULES,
            integrations=Rules(policy=policy, keyring=settings.keyring()),
            checker=Checker(policy),
            delete_grace=settings.delete_grace,
            backups_configured=settings.backup_url is not None,
            expected=ExpectedTenants(ddl, files.migrations()),
            second_approver=settings.second_approver,
            worker=Worker(settings, ddl, readiness, tracing) if with_worker else None,
            figures=FleetFigures(database, largest=settings.metrics_top_tenants),
            exposition=Exposition(requests, version=app.version),
            pools={"requests": database, "ddl": ddl},
            summary=_summary(settings, database, looking),
            page=_page(settings),
            sign_in=SignIn.of(settings),
        )
        app.state.services = services
        async with database, ddl, looking:
            services.waiter.start()
            services.denials.start()
            tasks = [
                asyncio.create_task(_prepare(settings, services, ddl), name="prepare"),
                asyncio.create_task(use.run(), name="key-use"),
            ]
            if services.worker is not None:
                tasks.append(asyncio.create_task(services.worker.run(), name="worker"))
            try:
                yield
            finally:
                await _stop(services, tasks)
                if tracing is not None:
                    await tracing.stop()

    return lifespan


def _summary(settings: Settings, requests: Database, looking: Database) -> Summary:
    return Summary(
        looking,
        pool=lambda: Pool(in_use=requests.in_use, most=requests.max_size),
        latest=script.latest(files.migrations()),
        release=release(),
        interval=settings.health_interval,
        thresholds=thresholds_of(settings),
    )


def _page(settings: Settings) -> Page:
    return Page.of(
        settings.api_key_pepper.get_secret_value(),
        Lifetime(idle=settings.session_idle, longest=settings.session_longest),
        public_url=settings.public_url,
    )


async def _prepare(settings: Settings, services: Services, ddl: Database) -> None:
    """Where the start is hopeless the process ends, so that whoever runs it sees why."""
    migrations, target = files.migrations(), files.target(settings)

    async def prepare() -> None:
        await startup.prepare(ddl, migrations, target)
        await isolation_service.require(ddl, target, allow_unsafe=settings.allow_unsafe)
        if settings.bootstrap_admin_key_file is not None:
            async with ddl.transaction() as conn:
                await services.keys.ensure_bootstrap_admin(conn, settings.bootstrap_admin_key_file)

    try:
        await services.readiness.achieve(prepare)
    except AppError as error:
        _log.critical("cannot_start", reason=error.detail)
        os.kill(os.getpid(), signal.SIGTERM)


async def _stop(services: Services, tasks: list[asyncio.Task[None]]) -> None:
    services.release()
    preparing, using = tasks[:2]
    preparing.cancel()
    using.cancel()
    listening = [services.waiter.stop(), services.flags.stop(), services.known_keys.stop(), services.denials.stop()]
    listening.append(services.summary.stop())
    if services.access_tokens is not None:
        listening.append(services.access_tokens.stop())
    ended = await asyncio.gather(*listening, *tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception) and error is not services.readiness.failure:
            _log.error("stopped_with_an_error", exc_info=error)
