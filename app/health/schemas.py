"""Probes on the wire, after the health+json draft."""

from typing import Literal

from pydantic import BaseModel

Status = Literal["pass", "warn", "fail"]


class Check(BaseModel):
    status: Status
    observed: str | int | float | None = None
    reason: str | None = None


class Health(BaseModel):
    status: Status
    checks: dict[str, Check]
