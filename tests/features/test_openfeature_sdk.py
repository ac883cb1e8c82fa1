"""OpenFeature's own SDK, with its OFREP provider, over HTTP against a service of its own process."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from openfeature import api as openfeature
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from app.apikeys.model import Role
from app.apikeys.service import Keys
from app.db.pool import Database
from tests.support.data import make_tenant
from tests.support.polling import until
from tests.support.processes import environment, serving

_ACME = EvaluationContext("acme_corp", {"user": "somebody"})


@pytest.fixture
async def sdk(dsn: str, database: Database, conn: asyncpg.Connection) -> AsyncIterator[OpenFeatureClient]:
    """Its calls block: they are made in a thread."""
    await make_tenant(conn)
    async with database.transaction() as opened:
        key = await Keys("").create(opened, name="sdk", role=Role.READER, created_by="tests", tenant_id="acme_corp")
    async with serving(env=environment(dsn)) as served:
        provider = OFREPProvider(
            str(served.base_url), headers_factory=lambda: {"Authorization": f"Bearer {key.key}"}, timeout=20
        )
        openfeature.set_provider(provider)
        yield openfeature.get_client()
        openfeature.clear_providers()
        provider.session.close()


async def test_the_sdk_reads_features_as_flags(sdk: OpenFeatureClient, conn: asyncpg.Connection) -> None:
    await conn.execute("""UPDATE bf_shared.tenant_config SET features_enabled = '["ai_insights"]'""")
    details = await asyncio.to_thread(sdk.get_boolean_details, "ai_insights", False, _ACME)
    assert (details.value, details.variant, details.error_code) == (True, "on", None)
    assert (details.reason, details.flag_metadata) == (Reason.TARGETING_MATCH, {"source": "tenant", "known": True})
    off = await asyncio.to_thread(sdk.get_boolean_details, "scenario_planning", True, _ACME)
    assert (off.value, off.reason, off.flag_metadata["source"]) == (False, Reason.DEFAULT, "default")
    await conn.execute("UPDATE bf_shared.tenant_config SET features_enabled = '[]'")

    async def is_off() -> bool:
        return not await asyncio.to_thread(sdk.get_boolean_value, "ai_insights", True, _ACME)

    await until(is_off, what="the change is seen", within=10)


@pytest.mark.parametrize(
    ("flag", "context", "code"),
    [
        ("ai_insight", _ACME, ErrorCode.FLAG_NOT_FOUND),
        ("ai_insights", EvaluationContext(), ErrorCode.TARGETING_KEY_MISSING),
        ("ai_insights", EvaluationContext("", {"user": "x"}), ErrorCode.TARGETING_KEY_MISSING),
        ("ai_insights", EvaluationContext("global_inc"), ErrorCode.INVALID_CONTEXT),
    ],
)
async def test_the_sdk_understands_why_there_is_no_value(
    sdk: OpenFeatureClient, flag: str, context: EvaluationContext, code: ErrorCode
) -> None:
    details = await asyncio.to_thread(sdk.get_boolean_details, flag, True, context)
    assert (details.value, details.reason, details.error_code) == (True, Reason.ERROR, code)


async def test_the_sdk_is_told_that_a_feature_is_no_text(sdk: OpenFeatureClient) -> None:
    details = await asyncio.to_thread(sdk.get_string_details, "ai_insights", "default", _ACME)
    assert (details.value, details.error_code) == ("default", ErrorCode.TYPE_MISMATCH)
