"""client.features and client.catalog."""

import pytest

from app.client import AsyncClient, Conflict, NotFound, PreconditionFailed, ValidationFailed


async def test_features_are_enabled_disabled_and_left_to_the_tier(client: AsyncClient, unique: str) -> None:
    await client.tenants.create(unique, "ACME", subscription_tier="professional")
    features = await client.features.get(unique)
    assert "variance_analysis" in features.enabled
    off = await client.features.disable(unique, "variance_analysis", if_match=features.etag)
    assert {f.source for f in off.features if f.name == "variance_analysis" and not f.enabled} == {"tenant"}
    with pytest.raises(PreconditionFailed):
        await client.features.enable(unique, "ai_insights", if_match=features.etag)
    assert "ai_insights" in (await client.features.enable(unique, "ai_insights", validate_only=True)).enabled
    reset = await client.features.reset(unique, "variance_analysis", if_match=off.etag)
    assert reset == features
    await client.features.enable(unique, "ai_forecasting")
    with pytest.raises(Conflict, match="feature_required") as refused:
        await client.features.disable(unique, "advanced_forecasting")
    assert (refused.value.problem.model_extra or {})["requires"] == ["advanced_forecasting"]
    with pytest.raises(ValidationFailed, match="ai_insights"):
        await client.features.enable(unique, "ai_insight")
    with pytest.raises(NotFound):
        await client.features.reset(unique, "ai_insight")


async def test_the_catalogue_is_read_and_added_to(client: AsyncClient, unique: str) -> None:
    made = await client.catalog.put_feature(unique, tier="enterprise", requires=["ai_insights"], description="New")
    assert made == await client.catalog.feature(unique)
    assert made in [
        feature.model_copy(update={"etag": made.etag}) for feature in (await client.catalog.features()).items
    ]
    changed = await client.catalog.put_feature(unique, description="Newer", if_match=made.etag)
    assert (changed.tier, changed.requires) == (None, ())
    with pytest.raises(PreconditionFailed):
        await client.catalog.put_feature(unique, if_match=made.etag)
    with pytest.raises(ValidationFailed, match="premium"):
        await client.catalog.put_feature(unique, tier="premum")
    tier = await client.catalog.put_tier(unique[:20], rank=1, description="Below all")
    assert tier == await client.catalog.tier(unique[:20])
    assert tier.name in [one.name for one in (await client.catalog.tiers()).items]
    assert (await client.catalog.put_tier(tier.name, rank=2, validate_only=True)).rank == 2
    assert (await client.catalog.tier(tier.name)).rank == 1
