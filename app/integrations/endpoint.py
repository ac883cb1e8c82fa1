"""Endpoints: how their URLs are written, and which addresses they may lead to. Pure."""

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, Self
from urllib.parse import parse_qsl

from app.allow import Address, Allow

MAX_LENGTH: Final = 2048
# One reading only: what a URL says here is what is connected to. No user, no fragment, no character beyond ASCII.
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>(?:/[a-z0-9._~!$&'()*+,;=:@%/-]*)?(?:\?(?P<query>[a-z0-9._~!$&'()*+,;=:@%/?-]*))?)",
    # Without ASCII two letters beyond it are an s and a k.
    re.IGNORECASE | re.ASCII,
)
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# A host that ends so is an address to inet_aton(), and so to getaddrinfo(): 0x7f.1, 017700000001, 2130706433.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
# As bf_control.holds_credentials() has them.
_CREDENTIAL: Final = re.compile(
    r"(password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)\Z",
    re.IGNORECASE | re.ASCII,
)
_PASSWORD_IN_URL: Final = re.compile(r"://[^/@]*:[^/@]*@")
_NEVER_PUBLIC: Final = frozenset({"localhost", "local", "internal", "intranet", "lan", "home", "corp", "private"})
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`host` is in lower case, without brackets; `target` is path and query as they were written."""

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, which says what is wrong."""
        match = _URL.fullmatch(text)
        if match is None:
            raise ValueError(_what_is_wrong(text))
        scheme, host = match["scheme"].lower(), match["host"].lower()
        port = int(match["port"] or _PORTS[scheme])
        if not 1 <= port <= 65535:
            raise ValueError("must have a port from 1 to 65535")
        _require_host(host)
        if holds_password(text) or any(_CREDENTIAL.search(name) for name, _ in _parameters(match["query"])):
            raise ValueError("must not hold credentials")
        return cls(scheme=scheme, host=host.strip("[]"), port=port, target=match["target"])

    @property
    def address(self) -> Address | None:
        """Where the host is an address and no name."""
        return _address(self.host)

    @property
    def authority(self) -> str:
        """As a Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def holds_password(text: str) -> bool:
    return _PASSWORD_IN_URL.search(text) is not None


def _parameters(query: str | None) -> list[tuple[str, str]]:
    return parse_qsl(query or "", keep_blank_values=True)


def _what_is_wrong(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() in _PORTS:
        if "@" in re.split(r"[/?#]", rest, maxsplit=1)[0]:
            return "must not hold credentials"
        if "#" in rest:
            return "must not have a fragment"
        if not text.isascii():
            return "must be ASCII: write an international name in its xn-- form"
    return "must be a URL such as https://auth.example.com/v1"


def _require_host(host: str) -> None:
    """Raises ValueError."""
    if host.startswith("["):
        try:
            IPv6Address(host[1:-1])
        except ValueError:
            raise ValueError("must have an IPv6 address within [ ]") from None
        return
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            IPv4Address(host)
        except ValueError:
            raise ValueError("must have an IPv4 address written as four decimal numbers") from None
        return
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("must have a valid host name")


def _address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


# Where clouds tell a machine its own credentials. None of them is allowed with a host: only by itself, or its network.
_METADATA: Final = (
    IPv4Network("169.254.0.0/16"), IPv4Network("100.100.100.200/32"), IPv4Network("168.63.129.16/32"),
    IPv4Network("192.0.0.192/32"), IPv6Network("fd00:ec2::/32"), IPv6Network("fd20:ce::/32"), IPv6Network("fe80::/10"),
)  # fmt: skip
_PRIVATE: Final = (
    IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16"), IPv4Network("127.0.0.0/8"),
    IPv4Network("100.64.0.0/10"), IPv6Network("fc00::/7"), IPv6Network("::1/128"),
)  # fmt: skip
_V6_PUBLIC: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
# 6to4 and its relays, Teredo: given up long ago, and ways round a look at the address.
_TUNNELS: Final = (IPv6Network("2002::/16"), IPv6Network("2001::/32"), IPv4Network("192.88.99.0/24"))


def _meant(address: Address) -> Address:
    """The IPv4 address that one of IPv6 stands for."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _within(address: Address, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    return any(network.version == address.version and address in network for network in networks)


def is_public(address: Address) -> bool:
    """Whether it is somebody's on the internet, whichever way it is written."""
    meant = _meant(address)
    if meant.is_multicast or not meant.is_global or _within(meant, (*_METADATA, *_TUNNELS)):
        return False
    return isinstance(meant, IPv4Address) or meant in _V6_PUBLIC


@dataclass(frozen=True, slots=True)
class Policy:
    """https on the public internet, and what is allowed beside it."""

    allow: Allow = field(default_factory=Allow)

    def refusal(self, endpoint: Endpoint) -> str | None:
        """What is wrong with the URL, before anybody asks where its name leads; None where nothing is."""
        address, named = endpoint.address, self.allow.names(endpoint.host, endpoint.port)
        listed = address is not None and self._listed(address, endpoint.port)
        if endpoint.scheme != "https" and not (named or listed):
            return "must be https, unless BF_INTEGRATION_ALLOW has its host"
        if address is not None:
            public = self.permits(address, endpoint)
        else:
            labels = endpoint.host.split(".")
            known_private = len(labels) == 1 or labels[-1] in _NEVER_PUBLIC or labels[-2:] == ["home", "arpa"]
            public = named or self.allow.has_networks or not known_private
        return None if public else "must be on the public internet, unless BF_INTEGRATION_ALLOW has its host"

    def permits(self, address: Address, endpoint: Endpoint) -> bool:
        """Whether the endpoint may be at this address, which its host is, or has been resolved to."""
        if self._listed(address, endpoint.port) or is_public(address):
            return True
        meant = _meant(address)
        named = self.allow.names(endpoint.host, endpoint.port)
        return named and _within(meant, _PRIVATE) and not _within(meant, _METADATA)

    def _listed(self, address: Address, port: int) -> bool:
        return self.allow.holds(address, port) or self.allow.holds(_meant(address), port)
