"""Verification and repair on the wire."""

from collections.abc import Sequence
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from app.schema.catalogue import Difference, Drift
from app.schema.mending import Plan

_INDEX: Final[dict[str, Any]] = {
    "kind": "index",
    "name": "budgets.idx_acme_corp_budgets_status",
    "expected": "CREATE INDEX idx_acme_corp_budgets_status ON bf_acme_corp.budgets USING btree (status, is_deleted)",
    "actual": None,
}


class DriftOut(BaseModel):
    kind: str = Field(description="`column`, `constraint`, `index`, `policy`, `relation grant` and so on")
    name: str = Field(description="With the table it belongs to; of a grant, with what it grants")
    expected: str | None = Field(description="What of its definition should be, and is not")
    actual: str | None = Field(description="What of its definition is, and should not be")

    @classmethod
    def of(cls, drift: Drift) -> Self:
        return cls(kind=drift.kind, name=drift.name, expected=drift.expected, actual=drift.actual)


class VerificationOut(BaseModel):
    """A tenant's catalogue beside what its version and its state say."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ok": False, "missing": [_INDEX], "extra": [], "altered": []}]}
    )

    ok: bool
    missing: list[DriftOut]
    extra: list[DriftOut]
    altered: list[DriftOut]

    @classmethod
    def of(cls, difference: Difference) -> Self:
        return cls(
            ok=difference.ok,
            missing=_drifts(difference.missing),
            extra=_drifts(difference.extra),
            altered=_drifts(difference.altered),
        )


def _drifts(drifts: Sequence[Drift]) -> list[DriftOut]:
    return [DriftOut.of(drift) for drift in drifts]


class RepairIn(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"drop_extra": False}]})

    drop_extra: bool = Field(
        False,
        strict=True,
        description="Drop what somebody has added too: never a table with rows, or a column with values",
    )


class RepairStepOut(BaseModel):
    kind: str
    name: str
    statements: list[str] = Field(description="As PostgreSQL writes them")
    concurrently: bool = Field(description="Done after the transaction, as the table is in use")


class RepairPlanOut(BaseModel):
    """Of a dry run."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "steps": [
                        {
                            "kind": "index",
                            "name": _INDEX["name"],
                            "statements": [_INDEX["expected"]],
                            "concurrently": False,
                        }
                    ],
                    "kept": [],
                }
            ]
        }
    )

    steps: list[RepairStepOut] = Field(description="In order; some make others possible that are not listed yet")
    kept: list[DriftOut] = Field(description="What somebody has added, and is left to them")

    @classmethod
    def of(cls, plan: Plan) -> Self:
        steps = [
            RepairStepOut(
                kind=action.key[0],
                name=action.key[1],
                statements=[*action.statements, *([] if action.finish is None else [action.finish])],
                concurrently=action.aside,
            )
            for action in plan.actions
        ]
        return cls(steps=steps, kept=_drifts(plan.kept))


class RepairOf(BaseModel):
    """What a call is compared with under its idempotency key: the path too."""

    tenant_id: str | None
    body: dict[str, Any]

    @classmethod
    def of(cls, tenant_id: str | None, body: BaseModel | None) -> Self:
        return cls(tenant_id=tenant_id, body={} if body is None else body.model_dump(mode="json", exclude_unset=True))
