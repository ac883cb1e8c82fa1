"""Who asks for a change. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who asked for an operation or a change, and in which request."""

    actor: str
    request_id: str | None = None
    traceparent: str | None = None
    source_address: str | None = None
