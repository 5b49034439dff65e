"""Which hosts a sandbox may reach by name, and which addresses such a name may lead to."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from stepgym.errors import ConfigError

Address = IPv4Address | IPv6Address

WEB_PORTS = frozenset({80, 443})
"""What an entry without a port allows."""

_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,254}))(?::([0-9]{1,5}))?")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NEIGHBOURS = tuple(
    ip_network(block)
    for block in (
        "192.0.0.0/24",  # IETF protocol assignments; a cloud's metadata service
        "168.63.129.16/32",  # another cloud's
        "::/96",  # an IPv4 address in the form nothing uses
    )
)
"""What `is_global` takes for a public address and is none."""
_NAT64 = ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Destination:
    """A host, by name in lower case or by address, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of an allow list."""

    host: str
    """Without the ``*`` of a wildcard."""
    port: int | None

    def covers(self, asked: Destination) -> bool:
        if asked.port not in (WEB_PORTS if self.port is None else {self.port}):
            return False
        return asked.host.endswith(self.host) if self.host.startswith(".") else asked.host == self.host


@dataclass(frozen=True, slots=True)
class AllowList:
    """The entries of `Spec.allow`: ``pypi.org``, ``*.debian.org`` (all below it), ``host:port``, addresses."""

    entries: tuple[_Entry, ...]

    @classmethod
    def parse(cls, allow: Iterable[str]) -> AllowList:
        """Raises `ConfigError` for what is no host."""
        return cls(tuple(_parse_entry(each) for each in allow))

    def covers(self, asked: Destination) -> bool:
        """The host may be asked for at that port."""
        return any(entry.covers(asked) for entry in self.entries)

    def admits(self, asked: Destination, address: Address) -> bool:
        """What `covers` may be reached at this address, which its name led to.

        Every public address will do. One of this machine, its neighbours or its metadata service is what a stranger who
        answers for a name would send us to: it must be in the list itself, or the name be there with its port.
        """
        named = Destination(str(address), asked.port)
        explicit = any(e.port is not None and not e.host.startswith(".") and e.covers(asked) for e in self.entries)
        return explicit or self.covers(named) or (_is_public(address) and not _is_own(address))


def parse_authority(text: str, port: int | None = None) -> Destination | None:
    """``host``, ``host:port`` or ``[v6]:port``, and nothing else: no user, no escapes. `port` where it names none."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return None
    v6, name, digits = found.groups()
    number = int(digits) if digits else port
    if number is None or not 0 < number < 1 << 16:
        return None
    host = _host(v6 or name)
    return None if host is None or (v6 is not None) != (":" in host) else Destination(host, number)


def _host(text: str) -> str | None:
    """A name or address in the one form it is compared in."""
    try:
        return None if "%" in text else str(ip_address(text))
    except ValueError:
        name = text.lower().removesuffix(".")
        return name if _NAME.fullmatch(name) else None


def _parse_entry(text: str) -> _Entry:
    below = text.startswith("*.")
    bare = text[2:] if below else text
    unbracketed = _host(bare)
    if unbracketed is not None and ":" in unbracketed:
        return _Entry(unbracketed, None)
    found = parse_authority(bare, 1)  # a port there must be: no service is at 1
    if found is None or (below and _is_address(found.host)):
        raise ConfigError(f"{text!r} is no host to allow; write pypi.org, *.debian.org or mirror.example.org:8080")
    return _Entry("." + found.host if below else found.host, None if found.port == 1 else found.port)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner:
            return _is_public(inner)
    return address.is_global and not address.is_multicast and not any(address in block for block in _NEIGHBOURS)


def _is_own(address: Address) -> bool:
    """It is one of this machine's: asked for the way there, the kernel answers with the address itself."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:  # nothing is sent
        try:
            probe.connect((str(address), 9))
        except OSError:
            return False
        return ip_address(probe.getsockname()[0].partition("%")[0]) == address
