"""What is to be said of a tenant's health from what the registry knows. Pure."""

from app.health.schemas import Check, Health, Status
from app.operations.model import Operation
from app.operations.model import Status as OperationStatus
from app.registry.model import State, Tenant

_STATES: dict[State, Status] = {State.ACTIVE: "pass", State.FAILED: "fail"}


def of_tenant(tenant: Tenant, *, latest_version: int | None, last_operation: Operation | None) -> Health:
    """The worst of its checks. Reads nothing of the tenant's own schema."""
    checks = {"state": _state(tenant), "schema_version": _version(tenant, latest_version)}
    if last_operation is not None:
        checks["last_operation"] = _operation(last_operation)
    return Health(status=_worst(checks), checks=checks)


def _state(tenant: Tenant) -> Check:
    status = _STATES.get(tenant.state, "warn")
    return Check(status=status, observed=tenant.state, reason=None if status == "pass" else f"is {tenant.state}")


def _version(tenant: Tenant, latest: int | None) -> Check:
    if tenant.schema_version is None or latest is None:
        return Check(status="warn", reason="there is no schema")
    if tenant.schema_version < latest:
        return Check(
            status="warn", observed=tenant.schema_version, reason=f"version {latest} is there: POST /v1/schema/upgrade"
        )
    return Check(status="pass", observed=tenant.schema_version)


def _operation(operation: Operation) -> Check:
    bad = operation.status in {OperationStatus.FAILED, OperationStatus.CANCELLED}
    problem = operation.error or {}
    return Check(
        status="warn" if bad else "pass", observed=operation.status, reason=problem.get("detail") if bad else None
    )


def _worst(checks: dict[str, Check]) -> Status:
    found = {check.status for check in checks.values()}
    return "fail" if "fail" in found else "warn" if "warn" in found else "pass"
