"""Integrations on the wire."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    SecretStr,
    SerializationInfo,
    StrictBool,
    StrictStr,
    StringConstraints,
    ValidationError,
)

from app.errors import FieldError
from app.http.idempotency import WITH_SECRETS
from app.integrations.endpoint import MAX_LENGTH, Endpoint, Policy, holds_password
from app.integrations.model import Capability, Change, Integration, Outcome


def _endpoint(value: str) -> str:
    Endpoint.parse(value)
    return value


def _line(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 or "\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must not contain control characters")
    if holds_password(value):
        raise ValueError("must not hold credentials")
    return value


def _distinct(value: list[str]) -> list[str]:
    if len(set(value)) != len(value):
        raise ValueError("must not name a model twice")
    return value


def _encodable(value: SecretStr) -> SecretStr:
    if any("\ud800" <= character <= "\udfff" for character in value.get_secret_value()):
        raise ValueError("must not contain half a surrogate pair")
    return value


def _masked(value: SecretStr, info: SerializationInfo) -> str:
    """Shown to nobody but the hash that tells one request from another."""
    return value.get_secret_value() if info.context == WITH_SECRETS else str(value)


EndpointUrl = Annotated[StrictStr, StringConstraints(min_length=1, max_length=MAX_LENGTH), AfterValidator(_endpoint)]
Realm = Annotated[StrictStr, StringConstraints(min_length=1, max_length=255), AfterValidator(_line)]
Level = Annotated[StrictStr, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,19}$")]
ModelName = Annotated[StrictStr, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
Models = Annotated[list[ModelName], Field(max_length=100), AfterValidator(_distinct)]
Secret = Annotated[
    SecretStr,
    Field(min_length=1, max_length=16384, json_schema_extra={"writeOnly": True}),
    AfterValidator(_encodable),
    PlainSerializer(_masked, return_type=str),
]


class CredentialsIn(BaseModel):
    """Write-only. Those that are named are set, or removed by null; the others stay as they are."""

    model_config = ConfigDict(extra="forbid")

    api_key: Secret | None = None
    token: Secret | None = None
    client_id: Secret | None = None
    client_secret: Secret | None = None
    username: Secret | None = None
    password: Secret | None = None
    private_key: Secret | None = None
    signing_secret: Secret | None = None


CREDENTIALS: Final = tuple(CredentialsIn.model_fields)


class IntegrationIn(BaseModel):
    """What every capability has."""

    model_config = ConfigDict(extra="forbid")

    enabled: StrictBool = True
    endpoint: EndpointUrl | None = Field(
        None, description="https, and on the public internet, unless BF_INTEGRATION_ALLOW has its host"
    )
    credentials: CredentialsIn = Field(default_factory=CredentialsIn)

    def settings(self) -> dict[str, Any]:
        """What is stored in sight: as it was sent, without what was left out."""
        return self.model_dump(mode="json", exclude_unset=True, exclude={"credentials"})

    def secrets(self) -> dict[str, str | None]:
        """By name, those that were sent; None is to be removed."""
        sent = {name: getattr(self.credentials, name) for name in sorted(self.credentials.model_fields_set)}
        return {name: None if secret is None else secret.get_secret_value() for name, secret in sent.items()}

    def change(self) -> Change:
        return Change(settings=self.settings(), credentials=self.secrets())


class AuthRbacIn(IntegrationIn):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"enabled": True, "endpoint": "https://auth.apg.platform", "credentials": {"client_secret": "…"}}
            ]
        },
    )

    realm: Realm | None = None


class AuditComplianceIn(IntegrationIn):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"enabled": True, "level": "detailed"}]})

    level: Level | None = Field(None, description="How much is handed on, such as `detailed`")


class AiOrchestrationIn(IntegrationIn):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"enabled": True, "models": ["forecasting", "variance_analysis"]}]},
    )

    models: Models | None = None


class DocumentManagementIn(IntegrationIn):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"enabled": True, "endpoint": "https://documents.example.com"}]}
    )


class NotificationEngineIn(IntegrationIn):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"enabled": True, "endpoint": "https://notify.example.com/v2"}]}
    )


SCHEMAS: Final[Mapping[str, type[IntegrationIn]]] = {
    Capability.AUTH_RBAC: AuthRbacIn,
    Capability.AUDIT_COMPLIANCE: AuditComplianceIn,
    Capability.AI_ORCHESTRATION: AiOrchestrationIn,
    Capability.DOCUMENT_MANAGEMENT: DocumentManagementIn,
    Capability.NOTIFICATION_ENGINE: NotificationEngineIn,
}


class IntegrationsIn(BaseModel):
    """Of a creation request."""

    model_config = ConfigDict(extra="forbid")

    auth_rbac: AuthRbacIn | None = None
    audit_compliance: AuditComplianceIn | None = None
    ai_orchestration: AiOrchestrationIn | None = None
    document_management: DocumentManagementIn | None = None
    notification_engine: NotificationEngineIn | None = None

    def changes(self) -> dict[str, Change]:
        """By capability."""
        given = {name: getattr(self, name) for name in SCHEMAS}
        return {name: document.change() for name, document in given.items() if document is not None}


def faults(capability: str, stored: Any, policy: Policy) -> list[FieldError]:
    """What PUT would refuse in a stored document, which SQL may have written; nothing where it is valid."""
    schema = SCHEMAS.get(capability)
    if schema is None:
        return [FieldError(pointer="", detail=f"is no capability; there are {', '.join(sorted(SCHEMAS))}")]
    try:
        document = schema.model_validate(stored)
    except ValidationError as error:
        return [
            FieldError(pointer="".join(f"/{part}" for part in found["loc"]), detail=in_words(found))
            for found in error.errors(include_url=False, include_input=False, include_context=False)
        ]
    refusal = None if document.endpoint is None else policy.refusal(Endpoint.parse(document.endpoint))
    return [] if refusal is None else [FieldError(pointer="/endpoint", detail=refusal)]


def in_words(found: Mapping[str, Any]) -> str:
    if found["type"] == "extra_forbidden":
        return "is not allowed here"
    return str(found["msg"]).removeprefix("Value error, ")


class CredentialOut(BaseModel):
    set: bool
    set_at: datetime | None = Field(description="When it was given its present value")
    set_by: str | None


class FaultOut(BaseModel):
    pointer: str
    detail: str


_EXAMPLE: Final[dict[str, Any]] = {
    "capability": "auth_rbac",
    "enabled": True,
    "endpoint": "https://auth.apg.platform",
    "realm": None,
    "level": None,
    "models": None,
    "credentials": {
        "client_secret": {"set": True, "set_at": "2026-01-31T09:30:00.000000Z", "set_by": "key:0123456789abcdef"},
        "api_key": {"set": False, "set_at": None, "set_by": None},
    },
    "valid": True,
    "errors": [],
    "stored": None,
}


class IntegrationOut(BaseModel):
    """One for all capabilities: what a capability does not have is null."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    capability: str
    enabled: bool | None
    endpoint: str | None
    realm: str | None
    level: str | None
    models: list[str] | None
    credentials: dict[str, CredentialOut] = Field(description="Which are set, and since when; never what they are")
    valid: bool = Field(description="False where SQL has written what PUT refuses, or an address that is not allowed")
    errors: list[FaultOut]
    stored: JsonValue = Field(description="Where it is not valid: the document as it is stored")

    @classmethod
    def of(cls, integration: Integration, policy: Policy) -> Self:
        stored, wrong = integration.stored, faults(integration.capability, integration.stored, policy)
        return cls(
            capability=integration.capability,
            **_readable(integration.capability, stored),
            credentials=_credentials(integration),
            valid=not wrong,
            errors=[FaultOut(pointer=fault.pointer, detail=fault.detail) for fault in wrong],
            stored=stored if wrong else None,
        )


def _readable(capability: str, stored: Any) -> dict[str, Any]:
    """Each member by itself, where it is what it should be."""
    schema = SCHEMAS.get(capability, IntegrationIn)
    known: dict[str, Any] = dict.fromkeys(("enabled", "endpoint", "realm", "level", "models"))
    if not isinstance(stored, dict):
        return known
    for name in known.keys() & schema.model_fields.keys():
        try:
            known[name] = getattr(schema.model_validate({name: stored[name]} if name in stored else {}), name)
        except ValidationError:
            continue
    return known


def _credentials(integration: Integration) -> dict[str, CredentialOut]:
    none = {name: CredentialOut(set=False, set_at=None, set_by=None) for name in CREDENTIALS}
    return none | {c.name: CredentialOut(set=True, set_at=c.set_at, set_by=c.set_by) for c in integration.credentials}


class IntegrationList(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_EXAMPLE]}]})

    items: list[IntegrationOut]


class CheckFaultOut(BaseModel):
    code: str
    detail: str


class CheckOut(BaseModel):
    """How an endpoint answered a GET without credentials."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"ok": True, "status": 401, "latency_ms": 84.2, "checked_at": "2026-01-31T09:30:00Z", "error": None},
                {
                    "ok": False,
                    "status": None,
                    "latency_ms": 3.1,
                    "checked_at": "2026-01-31T09:30:00Z",
                    "error": {"code": "address_not_allowed", "detail": "Its host has an address that is not public."},
                },
            ]
        }
    )

    ok: bool = Field(description="It answered, and neither with a redirect nor with a 5xx")
    status: int | None = Field(description="HTTP's; null where there was no answer")
    latency_ms: float = Field(description="Until the headers of the answer, name resolution included")
    checked_at: datetime
    error: CheckFaultOut | None

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        fault = outcome.fault
        return cls(
            ok=outcome.ok,
            status=outcome.status,
            latency_ms=outcome.latency_ms,
            checked_at=outcome.checked_at,
            error=None if fault is None else CheckFaultOut(code=fault.code, detail=fault.detail),
        )
