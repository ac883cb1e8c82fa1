"""Frozen settings from the environment. Only composition roots build them."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _identifier(value: str) -> str:
    """PostgreSQL cuts longer names silently, and two that differ only in what is cut would be one."""
    if not value or "\0" in value or len(value.encode()) > 63:
        raise ValueError("a schema or role name has 1 to 63 bytes")
    if value.startswith("pg_"):
        raise ValueError("names that start with pg_ are PostgreSQL's own")
    return value


Identifier = Annotated[str, AfterValidator(_identifier)]


class Settings(BaseSettings):
    """The guide's variables, and the service's own. Secrets show as `**********` wherever they are printed."""

    model_config = SettingsConfigDict(env_prefix="BF_", frozen=True, extra="ignore", env_ignore_empty=True)

    database_url: SecretStr | None = Field(None, validation_alias="DATABASE_URL")
    direct_database_url: SecretStr | None = Field(
        None, description="Where DATABASE_URL goes through PgBouncer: LISTEN and DDL need a direct connection."
    )
    schema_name: Identifier = "bf_shared"
    app_role: Identifier = "app_role"
    audit_role: Identifier = "audit_role"
    create_roles: bool = True
    insert_default_data: bool = True
    enable_rls: bool = True
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "console"] = "auto"
    api_key_pepper: SecretStr = SecretStr("")
    bootstrap_admin_key_file: Path | None = None
    db_pool_max: int = Field(10, ge=2, le=1000)
    worker_concurrency: int = Field(2, ge=1, le=100)
    drain_timeout: float = Field(20.0, gt=0, description="Seconds that SIGTERM leaves unfinished work.")

    def dsn(self) -> str:
        """Raises ValueError, naming the mend, where DATABASE_URL is not set."""
        if self.database_url is None:
            raise ValueError('DATABASE_URL is not set: export DATABASE_URL="postgresql://user:password@host/database"')
        return self.database_url.get_secret_value()

    def direct_dsn(self) -> str:
        """For LISTEN and DDL. Raises ValueError as dsn() does."""
        return self.dsn() if self.direct_database_url is None else self.direct_database_url.get_secret_value()
