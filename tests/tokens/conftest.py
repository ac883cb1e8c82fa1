from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from app.settings import Settings
from app.tokens.provider import Provider
from tests.support.api import Api, running_api
from tests.support.issuer import AUDIENCE, Issuer, issuing


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


def provider_of(issuer: Issuer, **settings: Any) -> Provider:
    given = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, **settings}
    made = Provider.of(Settings.model_validate(given))
    assert made is not None
    return made


@pytest.fixture
async def trusting(settings: Settings, issuer: Issuer) -> AsyncIterator[Api]:
    """An API that takes the issuer's tokens beside its keys, each for the tenant it names."""
    given = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, "oidc_tenant_claim": "org.tenant"}
    async with running_api(settings.model_copy(update=given), with_worker=False) as running:
        yield running
