"""Backups on the wire."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.backups.model import Backup


class BackupTableOut(BaseModel):
    name: str
    rows: int
    checksum: str = Field(description="Of all rows, in whichever order")


class BackupOut(BaseModel):
    """An archive that was verified: its rows counted against the tables, its checksum read back."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e11",
                    "tenant_id": "acme_corp",
                    "generation": 1,
                    "schema_version": 1,
                    "server_version": 18,
                    "created_at": "2026-01-31T09:30:00.000000Z",
                    "created_by": "key:3f9a2c1d",
                    "reason": "before the merger",
                    "url": "/var/backups/bf/acme_corp/0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e11.dump",
                    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                    "bytes": 48213,
                    "tables": [{"name": "budgets", "rows": 12, "checksum": "-4218823347512"}],
                }
            ]
        }
    )

    id: UUID = Field(description="Also that of the operation that made it")
    tenant_id: str
    generation: int = Field(description="Of the tenant that had this id then")
    schema_version: int
    server_version: int = Field(description="Major version of the PostgreSQL it was made from")
    created_at: datetime
    created_by: str
    reason: str | None
    url: str
    sha256: str
    bytes: int
    tables: list[BackupTableOut]

    @classmethod
    def of(cls, backup: Backup) -> Self:
        subject, archive = backup.subject, backup.archive
        return cls(
            id=backup.id,
            tenant_id=subject.tenant_id,
            generation=subject.generation,
            schema_version=subject.schema_version,
            server_version=subject.server_version,
            created_at=backup.created_at,
            created_by=backup.created_by,
            reason=backup.reason,
            url=archive.url,
            sha256=archive.sha256,
            bytes=archive.size,
            tables=[
                BackupTableOut(name=name, rows=table.rows, checksum=table.checksum)
                for name, table in sorted(subject.tables.items())
            ],
        )


class BackupPage(BaseModel):
    items: list[BackupOut]
    next_page_token: str | None = Field(None, description="Absent on the last page")
