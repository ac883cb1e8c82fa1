"""A client made from openapi.json by a public generator provisions, waits, cancels and pages on a served instance."""

import asyncio
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.processes import environment, served

_DOCUMENT = Path(__file__).parents[2] / "openapi.json"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The generated package; a warning of the generator is something that it could not make."""
    directory = tmp_path_factory.mktemp("generated")
    binaries = Path(sys.executable).parent
    made = subprocess.run(
        [
            binaries / "openapi-python-client", "generate", "--path", _DOCUMENT, "--meta", "none",
            "--output-path", directory / "generated_bf_client", "--fail-on-warning",
        ],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    sys.path.insert(0, str(directory))
    try:
        yield importlib.import_module("generated_bf_client")
    finally:
        sys.path.remove(str(directory))


def _module(generated: ModuleType, name: str) -> ModuleType:
    return importlib.import_module(f"{generated.__name__}.{name}")


async def test_it_does_what_a_control_plane_does(generated: ModuleType, dsn: str, tmp_path: Path) -> None:
    async with served("--with-worker", env=environment(dsn), directory=tmp_path) as serving:
        key = serving.client.headers["Authorization"].removeprefix("Bearer ")
        await asyncio.to_thread(_tour, generated, str(serving.client.base_url), key)


def _tour(generated: ModuleType, base_url: str, key: str) -> None:
    with generated.AuthenticatedClient(base_url=base_url, token=key) as client:
        _provisioned(generated, client)
        _paged(generated, client)
        _changed(generated, client)


def _provisioned(generated: ModuleType, client: object) -> None:
    models = _module(generated, "models")
    create = _module(generated, "api.tenants.create_tenant")
    made = create.sync_detailed(
        client=client,
        body=models.TenantIn(tenant_id="acme_corp", tenant_name="ACME Corporation"),
        prefer="wait=20",
        idempotency_key="generated-1",
    )
    assert made.status_code == 201
    assert made.parsed.state == models.State.ACTIVE

    started = create.sync_detailed(client=client, body=models.TenantIn(tenant_id="global_inc", tenant_name="Global"))
    assert started.status_code == 202
    operation = _ended(generated, client, started.parsed.id)
    assert operation.status == models.Status.SUCCEEDED

    _refused(generated, client, operation)


def _changed(generated: ModuleType, client: object) -> None:
    models = _module(generated, "models")
    changed = _module(generated, "api.tenants.patch_tenant").sync(
        "acme_corp", client=client, body=models.TenantPatch(tenant_name="ACME Worldwide")
    )
    assert changed.tenant_name == "ACME Worldwide"


def _ended(generated: ModuleType, client: object, operation_id: object) -> object:
    get = _module(generated, "api.operations.get_operation")
    for _ in range(200):
        operation = get.sync(str(operation_id), client=client)
        if operation.finished_at is not None:
            return operation
    raise AssertionError(f"{operation_id} does not end")


def _refused(generated: ModuleType, client: object, operation: object) -> None:
    """What has ended cannot be cancelled: a problem, typed like every other answer."""
    cancel = _module(generated, "api.operations.cancel_operation")
    answer = cancel.sync_detailed(str(operation.id), client=client)  # type: ignore[attr-defined]
    assert answer.status_code == 409
    assert answer.parsed.code == "operation_finished"


def _paged(generated: ModuleType, client: object) -> None:
    listing = _module(generated, "api.tenants.list_tenants")
    unset = _module(generated, "types").UNSET
    seen, token = [], unset
    while True:
        page = listing.sync(client=client, page_size=1, page_token=token)
        seen += [tenant.tenant_id for tenant in page.items]
        token = page.next_page_token
        if not token:
            break
    assert seen == ["acme_corp", "global_inc"]


async def test_it_cancels_what_waits(generated: ModuleType, dsn: str, tmp_path: Path) -> None:
    """Without a worker, what is asked for stays queued."""
    async with served(env=environment(dsn), directory=tmp_path) as serving:
        key = serving.client.headers["Authorization"].removeprefix("Bearer ")
        await asyncio.to_thread(_cancelled, generated, str(serving.client.base_url), key)


def _cancelled(generated: ModuleType, base_url: str, key: str) -> None:
    with generated.AuthenticatedClient(base_url=base_url, token=key) as client:
        _cancelled_while_queued(generated, client)


def _cancelled_while_queued(generated: ModuleType, client: object) -> None:
    models = _module(generated, "models")
    started = _module(generated, "api.tenants.create_tenant").sync(
        client=client, body=models.TenantIn(tenant_id="acme_corp", tenant_name="ACME")
    )
    cancelled = _module(generated, "api.operations.cancel_operation").sync(str(started.id), client=client)
    assert cancelled.status == models.Status.CANCELLED
    tenant = _module(generated, "api.tenants.get_tenant").sync("acme_corp", client=client)
    assert (tenant.state, tenant.error.code) == (models.State.FAILED, "operation_cancelled")
