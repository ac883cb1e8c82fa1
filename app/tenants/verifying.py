"""Comparing a tenant's catalogue with what its version and its state say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.db.pool import Connection, Database
from app.registry import service as registry
from app.registry.model import Tenant
from app.registry.service import TenantStateForbids
from app.schema import queries as schema_queries
from app.schema.catalogue import Difference, Drift
from app.schema.expected import Examination, ExpectedTenants
from app.schema.mending import Subject
from app.tenants import repair_queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    tenant: Tenant
    subject: Subject
    found: Examination


def subject_of(tenant: Tenant) -> Subject:
    """Raises TenantStateForbids while there is no schema."""
    if tenant.schema_version is None:
        raise TenantStateForbids(
            f"Tenant {tenant.tenant_id} is {tenant.state}; it has no schema to compare.", state=tenant.state
        )
    return Subject(tenant_id=tenant.tenant_id, schema_name=tenant.schema_name, version=tenant.schema_version)


async def verify(database: Database, expected: ExpectedTenants, tenant_id: str) -> Verdict:
    """Registry and catalogue as of one moment; waits for nobody, and writes nothing.

    A difference counts once it is one from a catalogue that was derived just now. Raises TenantNotFound,
    TenantStateForbids.
    """
    while True:
        async with database.transaction() as conn:
            await schema_queries.as_of_one_moment(conn)
            tenant = await registry.require(conn, tenant_id)
            subject = subject_of(tenant)
            if expected.knows(subject.version):
                found = await expected.examine(
                    conn, tenant_id=subject.tenant_id, schema_name=subject.schema_name, version=subject.version
                )
                if found.difference.ok or expected.fresh(subject.version):
                    return Verdict(tenant=tenant, subject=subject, found=found)
        await expected.prepare(subject.version, anew=True)


async def keep(conn: Connection, subject: Subject, difference: Difference, fingerprint: str) -> None:
    """Leaves what was found where the fleet's health reads it."""
    drift = None if difference.ok else named(difference)
    await repair_queries.keep(conn, subject.tenant_id, version=subject.version, fingerprint=fingerprint, drift=drift)


def named(difference: Difference) -> dict[str, Any]:
    """The objects by their names."""
    return {
        "missing": names(difference.missing),
        "extra": names(difference.extra),
        "altered": names(difference.altered),
    }


def names(drifts: Sequence[Drift]) -> list[str]:
    return [str(drift) for drift in drifts]
