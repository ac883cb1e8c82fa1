"""What a backup of a tenant is. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSum:
    """`checksum` is the sum of the hashes of all rows, in whichever order."""

    rows: int
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The tenant as one moment saw it. `records` is what of it is kept outside its schema."""

    tenant_id: str
    generation: int
    schema_name: str
    schema_version: int
    server_version: int
    tables: dict[str, TableSum]
    records: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A verified file: where it is, and what it must be when it is read. `client_version` is pg_dump's major."""

    url: str
    sha256: str
    size: int
    client_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """The id is that of the operation which made it."""

    id: UUID
    subject: Subject
    archive: Archive
    created_at: datetime
    created_by: str
    reason: str | None
