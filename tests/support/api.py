"""The application in this process, and clients with keys of every role."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from fastapi import FastAPI

from app.apikeys.model import Role
from app.db.pool import Database
from app.main import Services, create_app
from app.settings import Settings


@dataclass(slots=True)
class Api:
    """`client` presents the bootstrap admin key."""

    app: FastAPI
    client: httpx.AsyncClient

    @property
    def services(self) -> Services:
        services: Services = self.app.state.services
        return services

    @property
    def database(self) -> Database:
        return self.services.database

    async def key(self, role: Role, *, tenant_id: str | None = None) -> str:
        async with self.database.transaction() as conn:
            new = await self.services.keys.create(
                conn, name=f"test {role}", role=role, created_by="tests", tenant_id=tenant_id
            )
        return new.key

    async def provision(self, tenant_id: str = "acme_corp", **body: object) -> httpx.Response:
        """POST and wait; the answer is 201 where a worker runs."""
        return await self.client.post(
            "/v1/tenants",
            json={"tenant_id": tenant_id, "tenant_name": "ACME Corporation", **body},
            headers={"Prefer": "wait=20"},
        )


@asynccontextmanager
async def running_api(settings: Settings, *, with_worker: bool) -> AsyncIterator[Api]:
    """Ready when it is handed out. `settings` must name a bootstrap_admin_key_file."""
    assert settings.bootstrap_admin_key_file is not None
    app = create_app(settings, with_worker=with_worker)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app):
        await app.state.services.readiness.wait()
        key = settings.bootstrap_admin_key_file.read_text().strip()
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            yield Api(app=app, client=client)
