"""What a database URL says, and shell lines that change it. Never its password."""

import ipaddress
import re
import shlex
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qs, quote, unquote

from app.db.connect import split_url
from app.doctor.model import Look

_HOST = re.compile(r"(\[[^]]*\]|[^:]*)(?::(\d*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """`variable` holds the URL. `places` is what stands between `@` and `/`, as written there."""

    variable: str
    user: str
    places: str
    hosts: tuple[tuple[str, str], ...]
    database: str
    sslmode: str
    has_query: bool

    @classmethod
    def of(cls, variable: str, dsn: str) -> Self:
        """Raises ValueError as split_url() does."""
        parts = split_url(dsn)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        credentials, _, places = parts.netloc.rpartition("@")
        hosts = [match.groups("") for match in map(_HOST.match, (places or query.get("host", "")).split(",")) if match]
        return cls(
            variable=variable,
            user=unquote(credentials.partition(":")[0]) or query.get("user", ""),
            places=places,
            hosts=tuple((unquote(host).strip("[]"), port or query.get("port", "5432")) for host, port in hosts),
            database=unquote(parts.path.lstrip("/")) or query.get("dbname", ""),
            sslmode=query.get("sslmode", ""),
            has_query=bool(parts.query),
        )

    @property
    def host(self) -> str:
        return ", ".join(host for host, _ in self.hosts)

    @property
    def local(self) -> bool:
        """A socket of this machine: nothing of it can be read on a network."""
        return all(_is_local(host) for host, _ in self.hosts)

    @property
    def encrypted(self) -> bool:
        """Whether the URL takes no plain connection."""
        return self.sslmode in {"require", "verify-ca", "verify-full"}

    def __str__(self) -> str:
        where = ", ".join(f"{host or 'local socket'}:{port}" for host, port in self.hosts)
        return f"{self.user or '(no user)'} at {where}, database {self.database or '(not named)'}"

    def template(self, *, user: str = "USER") -> str:
        """The shell line that sets the URL anew; the password is for whoever runs it to fill in."""
        where = f"{self.places or 'HOST'}/{quote(self.database) or 'DATABASE'}"
        return f'export {self.variable}="postgresql://{quote(user)}:PASSWORD@{where}"'

    def with_tls(self) -> str:
        """The shell line that makes the URL ask for TLS."""
        if self.sslmode:
            value = f"${{{self.variable}/sslmode={self.sslmode}/sslmode=require}}"
        else:
            value = f"${{{self.variable}}}{'&' if self.has_query else '?'}sslmode=require"
        return f'export {self.variable}="{value}"'

    def with_authorities(self) -> str:
        """The shell line that checks the server's certificate against those that the system trusts."""
        return f'export {self.variable}="${{{self.variable}}}&sslrootcert=/etc/ssl/certs/ca-certificates.crt"'

    def elsewhere(self, variable: str, host: str, port: int) -> str:
        """The shell line that gives `variable` the same URL with another host and port."""
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return f'export {variable}="${{{self.variable}/@{self.places}/@{place}}}"'

    def is_ready(self) -> Look:
        """The shell line that asks whether a server answers there."""
        host, port = self.hosts[0]
        return Look(f"pg_isready -h {shlex.quote(host or '/var/run/postgresql')} -p {port}")


def _is_local(host: str) -> bool:
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
