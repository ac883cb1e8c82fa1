"""What a tenant is. Pure: knows no database."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NewType

from app.keyring import Sealed

TenantId = NewType("TenantId", str)

# The same rule as the CHECK on bf_control.tenant and the guard of setup_tenant().
_TENANT_ID: Final = re.compile(r"[a-z][a-z0-9_]{1,35}")
_RESERVED: Final = frozenset({"shared", "control", "queue", "public", "information_schema"})
_RESERVED_PREFIXES: Final = ("pg_", "pool_")


class State(StrEnum):
    PROVISIONING = "provisioning"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"
    PURGING = "purging"
    FAILED = "failed"


class Transition(StrEnum):
    """What is asked of a tenant that moves it to another state."""

    SUSPEND = "suspend"
    RESUME = "resume"
    DELETE = "delete"
    RESTORE = "restore"
    PURGE = "purge"


# What each state allows, and where it leads; None is the state that the tenant was deleted from. The functions of
# the shared schema allow the same (a test holds one to the other). Making a tenant goes its own way. A failed one has
# no schema: there is nothing to keep for a while, and it stays failed until it is gone.
TRANSITIONS: Final[Mapping[State, Mapping[Transition, State | None]]] = {
    State.PROVISIONING: {},
    State.ACTIVE: {Transition.SUSPEND: State.SUSPENDED, Transition.DELETE: State.DELETED},
    State.SUSPENDED: {Transition.RESUME: State.ACTIVE, Transition.DELETE: State.DELETED},
    State.DELETED: {Transition.RESTORE: None, Transition.PURGE: State.PURGING},
    State.PURGING: {},
    State.FAILED: {Transition.PURGE: State.FAILED},
}

# Where name, tier, configuration, features, limits and integrations may be changed.
CHANGEABLE: Final = frozenset({State.ACTIVE, State.SUSPENDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """`schema_version` is None until there is a schema; `error` is a problem (RFC 9457) while failed, and of a
    deleted one whose purge failed. `state_reason` and the like tell of its last transition.
    """

    tenant_id: TenantId
    tenant_name: str
    state: State
    schema_name: str
    schema_version: int | None
    subscription_tier: str
    billing_contact: str | None
    generation: int
    created_by: str
    created_at: datetime
    updated_at: datetime
    last_operation_id: str | None
    error: dict[str, Any] | None
    state_reason: str | None
    state_changed_at: datetime | None
    state_changed_by: str | None
    purge_time: datetime | None

    @property
    def is_active(self) -> bool:
        return self.state is State.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSecret:
    """A credential of an integration, by its name, as it is stored."""

    capability: str
    name: str
    sealed: Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRequest:
    """A creation request. `config` holds tenant_config columns that differ from their defaults."""

    tenant_id: TenantId
    tenant_name: str
    created_by: str
    subscription_tier: str
    config: dict[str, Any]
    # As the client sent it, secrets by their fingerprints: what a repeated request is compared with.
    document: dict[str, Any]
    # The same with the fingerprints under older keys.
    aliases: tuple[dict[str, Any], ...] = ()
    secrets: tuple[SealedSecret, ...] = ()

    def is_stored_as(self, document: dict[str, Any]) -> bool:
        return document == self.document or document in self.aliases


def tenant_id(value: str) -> TenantId:
    """Raises ValueError, saying why, unless `value` may be the id of a tenant."""
    if _TENANT_ID.fullmatch(value) is None:
        raise ValueError("must have 2 to 36 of a-z, 0-9 and _, a letter first")
    if value in _RESERVED or value.startswith(_RESERVED_PREFIXES):
        raise ValueError("is reserved")
    return TenantId(value)


def states_allowing(transition: Transition) -> list[State]:
    """In the order in which states are declared."""
    return [state for state in State if transition in TRANSITIONS[state]]
