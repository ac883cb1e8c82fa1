"""BF_INTEGRATION_ALLOW: where integrations may be, beside https on the public internet. Pure."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final, Self, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

_ENTRY: Final = re.compile(r"(?:\[(?P<v6>[^]]*)]|(?P<plain>[^:]*))(?::(?P<port>[0-9]{1,5}))?")
_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A host by its name, or a network; without a port, any of them."""

    host: str | None = None
    network: IPv4Network | IPv6Network | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, which names the entry."""
        network = _network(text)
        if network is not None:
            return cls(network=network)
        match = _ENTRY.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no host, host:port, address or network")
        port = None if match["port"] is None else int(match["port"])
        if port is not None and not 1 <= port <= 65535:
            raise ValueError(f"{text!r} has no port from 1 to 65535")
        name = match["plain"] if match["v6"] is None else match["v6"]
        network = _network(name)
        if network is None and (match["v6"] is not None or not _is_name(name)):
            raise ValueError(f"{text!r} is no host, host:port, address or network")
        return cls(host=None if network else name, network=network, port=port)


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None


def _is_name(text: str) -> bool:
    """A last label that begins with a digit would be read as an address by some."""
    return _HOST.fullmatch(text) is not None and len(text) <= 253 and not text.rpartition(".")[2][0].isdigit()


@dataclass(frozen=True, slots=True)
class Allow:
    entries: tuple[_Entry, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Entries stand between commas or white space. Raises ValueError, which names the wrong one."""
        return cls(tuple(_Entry.parse(entry.lower()) for entry in re.split(r"[\s,]+", text) if entry))

    @property
    def has_networks(self) -> bool:
        return any(entry.network is not None for entry in self.entries)

    def names(self, host: str, port: int) -> bool:
        """Whether an entry names the host itself."""
        return any(entry.host == host and entry.port in {None, port} for entry in self.entries)

    def holds(self, address: Address, port: int) -> bool:
        """Whether an entry is a network that the address is in."""
        return any(
            entry.network is not None
            and entry.network.version == address.version
            and address in entry.network
            and entry.port in {None, port}
            for entry in self.entries
        )
