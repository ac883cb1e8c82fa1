"""A libpq URL as asyncpg's arguments."""

from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

# libpq's parameters that asyncpg would send to the server as settings, which the server refuses. They
# tune libpq's own sockets and have no counterpart here.
_LIBPQ_ONLY: Final = frozenset(
    {
        "channel_binding", "fallback_application_name", "gssdelegation", "gssencmode", "keepalives",
        "keepalives_count", "keepalives_idle", "keepalives_interval", "load_balance_hosts",
        "max_protocol_version", "min_protocol_version", "requirepeer", "require_auth", "replication",
        "sslcertmode", "sslcompression", "sslsni", "tcp_user_timeout", "client_encoding",
    }
)  # fmt: skip
# Ignoring these would be less secure than what the URL asks for.
_REFUSED_VALUES: Final = {"channel_binding": "require", "gssencmode": "require"}
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SCHEMES: Final = frozenset({"postgresql", "postgres"})
_ENCODE: Final = (
    "If the password holds @ / # ? or %, percent-encode it: "
    "python3 -c 'import urllib.parse,sys;print(urllib.parse.quote(sys.argv[1],\"\"))' PASSWORD"
)


def connect_arguments(dsn: str, *, application_name: str) -> dict[str, Any]:
    """Keyword arguments for asyncpg.connect() and create_pool().

    `connect_timeout` (seconds) becomes asyncpg's `timeout`; `options` and `application_name` go to the
    server. SQLAlchemy's `postgresql+driver://` is taken too. Raises ValueError for any other scheme, for
    what is no port or sslmode, and for a demand (`channel_binding=require`) that asyncpg cannot meet.
    """
    parts = split_url(dsn)
    arguments: dict[str, Any] = {"server_settings": {"application_name": application_name}}
    kept = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if _REFUSED_VALUES.get(name) == value:
            raise ValueError(f"{name}={value} is not supported by the asyncpg driver")
        if name == "sslmode" and value not in _SSL_MODES:
            raise ValueError(f"sslmode={value} is none of {', '.join(_SSL_MODES)}")
        if name == "connect_timeout":
            arguments["timeout"] = _seconds(value)
        elif name == "application_name":
            arguments["server_settings"]["application_name"] = value
        elif name not in _LIBPQ_ONLY:
            kept.append((name, value))
    arguments["dsn"] = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(kept), ""))
    return arguments


def split_url(dsn: str) -> SplitResult:
    """Raises ValueError, which never holds what might be a password, for what is no URL of PostgreSQL's."""
    try:
        parts = urlsplit(dsn)
    except ValueError:  # its own words may quote the password
        raise ValueError(f"DATABASE_URL is no URL. {_ENCODE}") from None
    if parts.scheme.partition("+")[0] not in _SCHEMES:
        raise ValueError("DATABASE_URL must look like postgresql://user:password@host:port/database")
    if parts.netloc.count("@") > 1 or ("@" not in parts.netloc and _cut_short(parts)):
        raise ValueError(f"DATABASE_URL has an @ that does not end the password. {_ENCODE}")
    _port(parts)
    return parts


def _cut_short(parts: SplitResult) -> bool:
    """Whether an @ stands behind a / # or ? that must have been the password's."""
    return ":" in parts.netloc and "@" in parts.path + parts.fragment + parts.query.partition("=")[0]


def _port(parts: SplitResult) -> None:
    """Raises ValueError for what is no port; several hosts (libpq: `h1:1,h2:2`) are asyncpg's to read."""
    if "," in parts.netloc:
        return
    try:
        _ = parts.port
    except ValueError:
        raise ValueError(f"the port in DATABASE_URL is not a number from 0 to 65535. {_ENCODE}") from None


def _seconds(value: str) -> float:
    """libpq: zero, negative or nothing means to wait indefinitely; asyncpg wants a number."""
    try:
        seconds = float(value or 0)
    except ValueError:
        raise ValueError(f"connect_timeout={value!r} is not a number of seconds") from None
    return seconds if seconds > 0 else 3600.0
