"""Which network addresses are public: those that a stranger's redirect may lead to."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final, TypeAlias

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

_SPECIAL_IPV4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network, and the unspecified address
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by a provider's customers
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local: also where clouds hand out credentials
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
"""https://www.iana.org/assignments/iana-ipv4-special-registry: what is not reachable from everywhere."""

_GLOBAL_IPV6: Final = ipaddress.IPv6Network("2000::/3")
_SPECIAL_IPV6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments, Teredo among them
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which can lead to any IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)
"""https://www.iana.org/assignments/iana-ipv6-special-registry, within the part that unicast addresses come from."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: how a network without IPv4 reaches it; the last four bytes are the IPv4 address."""


def is_public(address: str) -> bool:
    """Whether an address is reachable from everywhere, and so no secret neighbour of this machine.

    An address that wraps an IPv4 address (IPv4-mapped, NAT64) is what that one is; 6to4 and Teredo are refused.

    Examples:
        >>> [is_public(address) for address in ("8.8.8.8", "127.0.0.2", "::ffff:10.0.0.1", "2606:4700::1111")]
        [True, False, False, True]
    """
    try:
        found: Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        wrapped = found.ipv4_mapped or (ipaddress.IPv4Address(int(found) & 0xFFFFFFFF) if found in _NAT64 else None)
        if wrapped is None:
            return found in _GLOBAL_IPV6 and not any(found in network for network in _SPECIAL_IPV6)
        found = wrapped
    return not any(found in network for network in _SPECIAL_IPV4)


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system resolves it; ``0x7f.1`` and ``2130706433`` are addresses, too.

    Raises:
        OSError: it has none.
    """
    try:
        answers = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "it is no name of a host") from error
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))
