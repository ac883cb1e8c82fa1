"""What is to be said of a tenant's health: each check with its reason, and the call that mends it. Pure."""

from collections.abc import Mapping
from typing import Final

from app.collect.model import Schema
from app.health.model import Status
from app.health.tenant_model import Measured, Mend, TenantFinding, TenantSeen, Verified, names
from app.operations.model import Operation
from app.operations.model import Status as OperationStatus
from app.registry.model import State, Tenant

_STATES: Final[dict[State, Status]] = {State.ACTIVE: "pass", State.FAILED: "fail"}
# Percent of a limit that is near.
NEAR: Final = 80.0
# Autovacuum begins at a fifth of the rows; a few are no matter.
_DEAD_ROWS: Final = 10_000
_DEAD_SHARE: Final = 0.4


def of_tenant(seen: TenantSeen) -> dict[str, TenantFinding]:
    """What the registry, operations, verification and the isolation check know."""
    found = {"state": _state(seen.tenant), "schema_version": _version(seen.tenant, seen.latest_version)}
    if seen.last_operation is not None:
        found["last_operation"] = _operation(seen.last_operation)
    if seen.failed is not None:
        found["failed_operation"] = _operation(seen.failed)
    if seen.tenant.schema_version is not None:
        found["catalogue"] = _catalogue(seen.tenant, seen.verified)
        found["isolation"] = _isolation(seen.tenant, seen.faults)
    return found


def of_measured(tenant: Tenant, measured: Measured) -> dict[str, TenantFinding]:
    """What counters and collectors know of its tables."""
    found = {"limits": _limits(tenant, measured)} if measured.uses else {}
    if measured.schema is not None:
        found["tables"] = _tables(tenant, measured.schema)
        found["size"] = TenantFinding(
            status="pass", observed=measured.schema.total_bytes, time=measured.schema.taken_at
        )
        found["dead_rows"] = _dead_rows(measured.schema)
    return found


def worst(findings: Mapping[str, TenantFinding]) -> Status:
    found = {finding.status for finding in findings.values()}
    return "fail" if "fail" in found else "warn" if "warn" in found else "pass"


def _path(tenant: Tenant, rest: str = "") -> str:
    return f"/v1/tenants/{tenant.tenant_id}{rest}"


# the registry ----------------------------------------------------------------------------------------


def _state(tenant: Tenant) -> TenantFinding:
    status = _STATES.get(tenant.state, "warn")
    return TenantFinding(
        status=status,
        observed=tenant.state,
        reason=None if status == "pass" else _why(tenant),
        mend=None if status == "pass" else _out_of(tenant),
    )


def _why(tenant: Tenant) -> str:
    detail = (tenant.error or {}).get("detail") or tenant.state_reason
    return f"is {tenant.state}" + (f": {detail}" if detail else "")


def _out_of(tenant: Tenant) -> Mend | None:
    match tenant.state:
        case State.FAILED:  # the same request again
            return Mend("PUT", _path(tenant))
        case State.SUSPENDED:
            return Mend("POST", _path(tenant, "/resume"))
        case State.DELETED:
            return Mend("POST", _path(tenant, "/restore"))
        case State.PROVISIONING | State.PURGING:
            last = tenant.last_operation_id
            return None if last is None else Mend("GET", f"/v1/operations/{last}")
        case State.ACTIVE:
            return None


def _version(tenant: Tenant, latest: int | None) -> TenantFinding:
    if tenant.schema_version is None or latest is None:
        return TenantFinding(status="warn", reason="there is no schema", mend=_out_of(tenant))
    if tenant.schema_version < latest:
        return TenantFinding(
            status="warn",
            observed=tenant.schema_version,
            reason=f"version {latest} is there: POST /v1/schema/upgrade",
            mend=Mend("POST", "/v1/schema/upgrade"),
        )
    return TenantFinding(status="pass", observed=tenant.schema_version)


def _operation(operation: Operation) -> TenantFinding:
    bad = operation.status in {OperationStatus.FAILED, OperationStatus.CANCELLED}
    problem = operation.error or {}
    return TenantFinding(
        status="warn" if bad else "pass",
        observed=operation.status,
        reason=(problem.get("detail") or f"{operation.kind} was {operation.status}") if bad else None,
        mend=Mend("POST", f"/v1/operations/{operation.id}/retry") if bad else None,
        time=operation.finished_at,
    )


def _catalogue(tenant: Tenant, verified: Verified | None) -> TenantFinding:
    """It was compared when it was made: that nobody has verified it since is no fault."""
    if verified is None or verified.drift is None:
        return TenantFinding(
            status="pass",
            observed="as it was made" if verified is None else "verified",
            time=None if verified is None else verified.verified_at,
        )
    return TenantFinding(
        status="warn",
        observed="drifted",
        reason=f"is not as the migrations made it: {names(verified.drift)}",
        mend=Mend("POST", _path(tenant, "/repair")),
        time=verified.verified_at,
    )


def _isolation(tenant: Tenant, faults: tuple[str, ...]) -> TenantFinding:
    if not faults:
        return TenantFinding(status="pass", observed=0)
    return TenantFinding(
        status="fail",
        observed=len(faults),
        reason="; ".join(faults[:3]),
        mend=Mend("POST", _path(tenant, "/repair")),
    )


# its tables ------------------------------------------------------------------------------------------


def _limits(tenant: Tenant, measured: Measured) -> TenantFinding:
    """How many are near, or over."""
    near = [use for use in measured.uses if use.percentage >= NEAR]
    if not near:
        return TenantFinding(status="pass", observed=0)
    told = ", ".join(f"{use.used} of {use.allowed} of {use.name} ({use.percentage:g} percent)" for use in near)
    return TenantFinding(
        status="warn", observed=len(near), reason=f"uses {told}", mend=Mend("PATCH", _path(tenant, "/limits"))
    )


def _tables(tenant: Tenant, schema: Schema) -> TenantFinding:
    """Whether each is there, with valid indexes and row-level security, as of the last look."""
    wrong = [f"table {name} is missing" for name in schema.missing_tables]
    wrong += [f"index {name} is missing" for name in schema.missing_indexes]
    wrong += [f"{schema.invalid_indexes} invalid indexes"] if schema.invalid_indexes else []
    wrong += [f"row-level security of {name} is open" for name in schema.open_tables]
    if not wrong:
        return TenantFinding(status="pass", observed=schema.table_count, time=schema.taken_at)
    return TenantFinding(
        status="fail" if schema.open_tables or schema.missing_tables else "warn",
        observed=schema.table_count,
        reason="; ".join(wrong[:5]),
        mend=Mend("POST", _path(tenant, "/repair")),
        time=schema.taken_at,
    )


def _dead_rows(schema: Schema) -> TenantFinding:
    """No call mends it: autovacuum does, unless something is in its way."""
    rows = schema.live_rows + schema.dead_rows
    warns = schema.dead_rows >= _DEAD_ROWS and schema.dead_rows > _DEAD_SHARE * rows
    reason = "autovacuum does not keep up: look for old transactions (GET /v1/health/connections), or VACUUM its tables"
    return TenantFinding(
        status="warn" if warns else "pass",
        observed=schema.dead_rows,
        reason=reason if warns else None,
        mend=Mend("GET", "/v1/health/connections") if warns else None,
        time=schema.taken_at,
    )
