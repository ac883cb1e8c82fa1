"""Frozen settings from the environment. Only composition roots build them."""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app import oidc
from app.allow import Allow
from app.keyring import Keyring, parse_keys
from app.rate import Rate
from app.signing import private_key, public_key


def _identifier(value: str) -> str:
    """PostgreSQL cuts longer names silently, and two that differ only in what is cut would be one."""
    if not value or "\0" in value or len(value.encode()) > 63:
        raise ValueError("a schema or role name has 1 to 63 bytes")
    if value.startswith("pg_"):
        raise ValueError("names that start with pg_ are PostgreSQL's own")
    return value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _secret_keys(value: SecretStr) -> SecretStr:
    parse_keys(value.get_secret_value())
    return value


def _allow(value: str) -> str:
    Allow.parse(value)
    return value


def _rate(value: str) -> str:
    Rate.parse(value)
    return value


_UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d{1,5})([mhd])", value)
    if match is None:
        raise ValueError("write 30d, 12h or 45m")
    return int(match[1]) * _UNITS[match[2]]


def _backup_url(value: str) -> str:
    """An absolute path, or a URL without a password: it is stored with each backup, and shown."""
    if "://" not in value:
        return str(Path(value).absolute())
    if urlsplit(value).password is not None:
        raise ValueError("must hold no password; give the store its credentials by its own variables")
    return value


def _issuer(value: str, info: ValidationInfo) -> str:
    return oidc.require_issuer(value, allow_http=info.data.get("oidc_allow_http", False)) if value else value


def _audience(value: str, info: ValidationInfo) -> str:
    if not value and info.data.get("oidc_issuer"):
        raise ValueError("must say for whom the tokens of BF_OIDC_ISSUER are, else those for others would do")
    return value


def _role_map(value: str) -> str:
    oidc.role_map(value)
    return value


def _algorithms(value: str) -> str:
    oidc.algorithms(value)
    return value


def _types(value: str) -> str:
    oidc.types(value)
    return value


def _event_source(value: str) -> str:
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,500}", value) is None:
        raise ValueError("must be a URI, such as https://bf.example.com or urn:example:bf")
    return value


def _public_url(value: str) -> str:
    if (
        value
        and re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-fA-F:.]+](:[0-9]{1,5})?", value)
        is None
    ):
        raise ValueError("must be a scheme and a host, such as https://bf.example.com")
    return value


def _anchor_url(value: str) -> str:
    """As a backup's. HTTP has no way to read an anchor back, or to see that there is one."""
    if value.lower().startswith(("http://", "https://")):
        raise ValueError("names a place that can be listed and read back: a directory, s3://, gs://, abfs:// and so on")
    return _backup_url(value)


def _signing_key(value: SecretStr) -> SecretStr:
    if value.get_secret_value():
        private_key(value.get_secret_value())
    return value


def _public_key(value: str) -> str:
    if value:
        public_key(value)
    return value


Identifier = Annotated[str, AfterValidator(_identifier)]


class _SecretFiles(PydanticBaseSettingsSource):
    """`NAME_FILE` names a file that holds the secret NAME, as with the official image of postgres.

    A secret in the environment is shown by `docker inspect`, and inherited by every child process.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Raises ValueError, which says what is wrong with the file."""
        key = str(field.validation_alias or field_name)
        variable = _variable(field, field_name)
        path = os.environ.get(f"{variable}_FILE")
        if not path:
            return None, key, False
        if os.environ.get(variable):
            raise ValueError(f"{variable} is set too: leave one of the two")
        return _read(Path(path)), key, False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        wrong: list[InitErrorDetails] = []
        for name, field in self.settings_cls.model_fields.items():
            if SecretStr not in (field.annotation, *get_args(field.annotation)):
                continue
            try:
                value, key, _ = self.get_field_value(field, name)
            except ValueError as error:
                reason = PydanticCustomError("secret_file", "{reason}", {"reason": str(error)})
                wrong.append(InitErrorDetails(type=reason, loc=(f"{_variable(field, name)}_FILE",), input=None))
            else:
                found |= {} if value is None else {key: value}
        if wrong:
            raise ValidationError.from_exception_data(self.settings_cls.__name__, wrong)
        return found


def _variable(field: FieldInfo, name: str) -> str:
    return str(field.validation_alias or f"BF_{name.upper()}")


def _read(path: Path) -> str:
    """Without the newline that editors and `echo` leave at the end."""
    try:
        secret = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"cannot read {path} as uid {os.geteuid()}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8") from error
    if not secret:
        raise ValueError(f"{path} is empty")
    return secret


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
    tenant_roles: bool = Field(False, description="A NOLOGIN role for each tenant, which reaches its schema alone.")
    allow_unsafe: bool = Field(False, description="Start although isolation has faults: loud, and for the mending.")
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = "INFO"
    log_format: Literal["auto", "json", "console"] = "auto"
    api_key_pepper: SecretStr = SecretStr("")
    secret_keys: Annotated[SecretStr, AfterValidator(_secret_keys)] = SecretStr("")
    integration_allow: Annotated[str, AfterValidator(_allow)] = ""
    bootstrap_admin_key_file: Path | None = None
    db_pool_max: int = Field(10, ge=2, le=1000)
    request_timeout: float = Field(10.0, gt=0, description="Seconds a request has, beyond its own `Prefer: wait`.")
    rate_limit: Annotated[str, AfterValidator(_rate)] = Field(
        "60000/minute", description="Requests of one caller that each API process answers: 600/minute, or off."
    )
    auth_failure_limit: Annotated[str, AfterValidator(_rate)] = Field(
        "12000/minute", description="Failed authentications from one address, of each API process, or off."
    )
    flags_max_age: float = Field(30.0, gt=0, description="Seconds an API process keeps a tenant's flags for OFREP.")
    metrics_top_tenants: int = Field(20, ge=0, le=1000, description="Tenants with series of their own in /metrics.")
    worker_concurrency: int = Field(2, ge=1, le=100)
    drain_timeout: float = Field(20.0, gt=0, description="Seconds that SIGTERM leaves unfinished work.")

    oidc_allow_http: bool = Field(False, description="Of an issuer that is no loopback address, too.")
    oidc_issuer: Annotated[str, AfterValidator(_issuer)] = Field(
        "", description="Whose access tokens are taken beside API keys; its keys are found by OpenID discovery."
    )
    oidc_audience: Annotated[str, AfterValidator(_audience)] = Field("", validate_default=True)
    oidc_algorithms: Annotated[str, AfterValidator(_algorithms)] = "RS256"
    oidc_types: Annotated[str, AfterValidator(_types)] = Field(
        "at+jwt", description="The `typ` a token may have; at+jwt,jwt for a provider without RFC 9068."
    )
    oidc_roles_claim: str = Field("roles", min_length=1, description="A claim, or a path to one: realm_access.roles.")
    oidc_role_map: Annotated[str, AfterValidator(_role_map)] = Field(
        "", description="VALUE=ROLE,VALUE=ROLE; by default each role by its own name."
    )
    oidc_tenant_claim: str = Field(
        "", description="A claim, or a path to one, that names the only tenant a token is for, or has *."
    )
    oidc_leeway: float = Field(30.0, ge=0, le=300, description="Seconds that the issuer's clock may differ.")

    oidc_client_id: str = Field("", description="The page's own client at the issuer, for signing in there.")
    oidc_client_secret: SecretStr = SecretStr("")
    oidc_scope: str = Field("openid", min_length=1, description="What the page asks the issuer for.")
    public_url: Annotated[str, AfterValidator(_public_url)] = Field(
        "", description="Where people reach the page: https://bf.example.com. By default what their browser says."
    )
    session_idle: Annotated[timedelta, BeforeValidator(_duration)] = Field(
        timedelta(minutes=30), ge=timedelta(minutes=1), description="After so long without a click, sign in again."
    )
    session_longest: Annotated[timedelta, BeforeValidator(_duration)] = Field(
        timedelta(hours=12), ge=timedelta(minutes=1), description="The same, clicks or not."
    )
    login_limit: Annotated[str, AfterValidator(_rate)] = Field(
        "20/minute", description="Attempts to sign in to the page from one address, of each API process, or off."
    )

    event_source: Annotated[str, AfterValidator(_event_source)] = Field(
        "urn:apg:bf-tenant-admin", description="The `source` of events that webhooks are sent: a URI of this service."
    )
    event_retention: Annotated[timedelta, BeforeValidator(_duration)] = Field(
        timedelta(days=30),
        ge=timedelta(days=4),
        description="How long events are kept: what webhooks can be sent again, and what limits have left.",
    )

    collect_interval: float = Field(
        60.0, ge=0, le=3600, description="Seconds from one look at the database to the next; 0: collect nothing."
    )
    collect_tenants_interval: float = Field(
        300.0, ge=0, le=86400, description="The same of looks at every tenant's tables, and at slow statements."
    )
    history_minutes: Annotated[timedelta, BeforeValidator(_duration)] = Field(
        timedelta(days=1), ge=timedelta(0), le=timedelta(days=90), description="How long every sample is kept."
    )
    history_hours: Annotated[timedelta, BeforeValidator(_duration)] = Field(
        timedelta(days=30), ge=timedelta(0), description="How long the last sample of each hour is kept."
    )
    history_days: Annotated[timedelta, BeforeValidator(_duration)] = Field(
        timedelta(days=730), ge=timedelta(0), description="How long the last sample of each day is kept."
    )
    disk_path: Path | None = Field(
        None, description="A directory on the volume of the database's data, where workers see that."
    )

    delete_grace: Annotated[timedelta, BeforeValidator(_duration)] = Field(
        timedelta(days=30), ge=timedelta(0), description="How long a deleted tenant is kept before it is purged."
    )

    health_interval: float = Field(
        5.0, ge=0.05, le=300, description="Seconds between two looks of an API process at what /health tells."
    )

    second_approver: bool = Field(
        default=False, description="Whether a plan of destruction needs the approval of a second admin."
    )

    backup_url: Annotated[str, AfterValidator(_backup_url)] | None = Field(
        None, description="Where backups of tenants are kept: a directory, or any URL that fsspec knows."
    )
    audit_signing_key: Annotated[SecretStr, AfterValidator(_signing_key)] = SecretStr("")
    audit_public_key: Annotated[str, AfterValidator(_public_key)] = ""
    audit_anchor_url: Annotated[str, AfterValidator(_anchor_url)] | None = Field(
        None, description="Where the head of the audit chain is kept: a directory, or any URL that fsspec knows."
    )
    audit_anchor_interval: Annotated[timedelta, BeforeValidator(_duration)] = Field(
        timedelta(hours=1), ge=timedelta(minutes=1)
    )
    audit_retention: Annotated[timedelta, BeforeValidator(_duration)] = Field(
        timedelta(days=2555), ge=timedelta(days=1), description="Longer where a tenant's data_retention_days are more."
    )
    pg_bin: Path | None = Field(None, description="Where pg_dump and pg_restore are; looked for otherwise.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _SecretFiles(settings_cls)

    def requests_rate(self) -> Rate | None:
        """Of BF_RATE_LIMIT."""
        return Rate.parse(self.rate_limit)

    def failures_rate(self) -> Rate | None:
        """Of BF_AUTH_FAILURE_LIMIT."""
        return Rate.parse(self.auth_failure_limit)

    def logins_rate(self) -> Rate | None:
        """Of BF_LOGIN_LIMIT."""
        return Rate.parse(self.login_limit)

    def keyring(self) -> Keyring:
        """Of BF_SECRET_KEYS."""
        return Keyring(parse_keys(self.secret_keys.get_secret_value()))

    def dsn(self) -> str:
        """Raises ValueError, naming the mend, where DATABASE_URL is not set."""
        if self.database_url is None:
            raise ValueError('DATABASE_URL is not set: export DATABASE_URL="postgresql://user:password@host/database"')
        return self.database_url.get_secret_value()

    def direct_dsn(self) -> str:
        """For LISTEN and DDL. Raises ValueError as dsn() does."""
        return self.dsn() if self.direct_database_url is None else self.direct_database_url.get_secret_value()
