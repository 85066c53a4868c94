"""Address forms of bind, server, log and source lines (manual 2.9): prefixes, ``*``, ports, ranges, offsets, paths, descriptors.

Variables are expanded here even where they stand outside quotes, as HAProxy does for addresses alone. Knows no keyword; the only
outside thing is the resolver of the system, asked once while the file is read.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Mapping

from forkproxy.plan import Address

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?:-([^}]*))?\}|([A-Za-z_][A-Za-z0-9_]*))")
_FAMILIES = {
    "ip": "", "ipv4": "ipv4", "ipv6": "ipv6", "unix": "unix", "abns": "abns", "abnsz": "abnsz", "fd": "fd",
    "tcp": "", "tcp4": "ipv4", "tcp6": "ipv6", "udp": "", "udp4": "ipv4", "udp6": "ipv6", "uxst": "unix", "uxdg": "unix",
}  # fmt: skip
_STREAM_ONLY = frozenset({"tcp", "tcp4", "tcp6", "uxst"})
_DGRAM_ONLY = frozenset({"udp", "udp4", "udp6", "uxdg"})
#: prefixes that HAProxy has and forkproxy does not (yet)
_KNOWN_PREFIXES = frozenset({"sockpair", "quic4", "quic6", "mptcp", "mptcp4", "mptcp6", "rev", "rhttp", "ring"})
#: a path is copied into 108 bytes with its final zero
UNIX_PATH_MAX = 107
_PORTS = re.compile(r"([0-9]+)(?:-([0-9]+))?|([+-])([0-9]+)")


class Unresolved(ValueError):
    """A host name that nothing knows; ``host`` is the name."""

    def __init__(self, host: str, text: str) -> None:
        super().__init__(f"invalid address: '{host}' in '{text}'")
        self.host = host


def expand(text: str, env: Mapping[str, str] | None = None) -> str:
    """``$NAME``, ``${NAME}`` and ``${NAME-default}`` replaced from ``env`` (the process's own when None); unset is empty."""
    if "$" not in text:
        return text
    table = os.environ if env is None else env
    return _VARIABLE.sub(lambda m: table.get(m[1] or m[3], m[2] or ""), text)


def resolve_host(host: str, family: str = "") -> tuple[str, str] | None:
    """``(family, address)`` of a host name by the system's resolver, or None. ``family`` is "", "ipv4" or "ipv6"."""
    wanted = {"": socket.AF_UNSPEC, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}[family]
    try:
        found = socket.getaddrinfo(host, None, wanted, socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    for fam, _type, _proto, _name, address in found:
        if fam in (socket.AF_INET, socket.AF_INET6):
            return ("ipv4" if fam == socket.AF_INET else "ipv6"), str(address[0])
    return None


def _literal(host: str, family: str) -> tuple[str, str] | None:
    """The address that ``host`` spells out, or None when it is a name. "" and "*" are all addresses."""
    if host in ("", "*"):
        return ("ipv6", "::") if family == "ipv6" else ("ipv4", "0.0.0.0")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if family != "ipv6":
        try:
            return "ipv4", str(ipaddress.IPv4Address(bare))
        except ValueError:
            pass
    if family != "ipv4" and ":" in bare:
        try:
            return "ipv6", str(ipaddress.IPv6Address(bare))
        except ValueError:
            pass
    return None


def _split_port(rest: str) -> tuple[str, str | None]:
    """Host and port text: what follows the last colon, so that a bare IPv6 address needs brackets or a final port."""
    if rest.startswith("["):
        end = rest.find("]")
        if end > 0 and (end + 1 == len(rest) or rest[end + 1] == ":"):
            return rest[: end + 1], rest[end + 2 :] if end + 1 < len(rest) else None
    host, colon, port = rest.rpartition(":")
    return (host, port) if colon else (rest, None)


def _bad_port(port: str, text: str) -> ValueError:
    bad = next((c for c in port if not c.isdigit() and c != "-"), "")
    if not bad:  # dashes in wrong places
        return ValueError(f"invalid port '{port}' in '{text}'")
    return ValueError(f"invalid character '{bad}' in port number '{port}' in '{text}'")


def parse_address(
    text: str,
    *,
    default_port: int | None = 0,
    allow_range: bool = False,
    allow_offset: bool = False,
    allow_port: bool = True,
    allow_fd: bool = True,
    dgram: bool = False,
    either: bool = False,
    resolve: Callable[[str, str], tuple[str, str] | None] | None = resolve_host,
    env: Mapping[str, str] | None = None,
) -> list[Address]:
    """The addresses that ``text`` stands for: one, or one per port of a range.

    ``default_port`` is taken when no port is written; None makes a port mandatory (bind). ``allow_offset`` permits ``:+n`` and ``:-n``
    and makes a missing port "the client's" (server). ``allow_fd`` permits inherited descriptors. ``dgram`` is the default kind and,
    unless ``either``, the only one accepted.
    ``resolve(host, family)`` answers for names; None gives back the name unresolved with family "name".
    Raises ValueError with HAProxy's reason; Unresolved (a ValueError) when only the name is unknown.
    """
    expanded = expand(text, env)
    rest = expanded
    kind = "dgram" if dgram else "stream"
    forced = ""
    if rest.startswith(("stream+", "dgram+", "quic+")):
        forced, rest = rest.split("+", 1)
        if forced == "quic":
            raise ValueError(f"address family 'quic' is known to HAProxy, not supported by forkproxy yet in '{expanded}'")
    prefix, at, tail = rest.partition("@")
    family = ""
    if at and prefix in _KNOWN_PREFIXES:
        raise ValueError(f"address prefix '{prefix}@' is known to HAProxy, not supported by forkproxy yet in '{expanded}'")
    if at and prefix in _FAMILIES:
        family, rest = _FAMILIES[prefix], tail
        forced = "stream" if prefix in _STREAM_ONLY else "dgram" if prefix in _DGRAM_ONLY else forced
    elif rest.startswith("/"):
        family = "unix"
    if forced and forced != kind and not either:
        raise ValueError(f"{forced}-type address not acceptable in '{expanded}'")
    kind = forced or kind
    if family == "unix" or family.startswith("abns"):
        if not rest:
            raise ValueError(f"missing path in '{expanded}'" if family == "unix" else f"missing name in '{expanded}'")
        if len(os.fsencode(rest)) > UNIX_PATH_MAX:
            raise ValueError(f"socket path '{rest}' too long (max {UNIX_PATH_MAX})")
        return [Address(family, rest, 0, kind)]
    if family == "fd":
        if not (rest.isascii() and rest.isdigit()):
            raise ValueError(f"file descriptor '{rest}' is not a valid integer in '{expanded}'")
        if not allow_fd:
            raise ValueError(f"a file descriptor cannot be connected to in '{expanded}'")
        if len(rest) > 10 or int(rest) >= 2**31:
            raise ValueError(f"cannot use file descriptor '{rest}' : Bad file descriptor in '{expanded}'")
        return [Address("fd", rest, 0, kind)]
    if not rest and not at:
        raise ValueError(f"missing address in '{text}'")
    return _inet(rest, expanded, family, kind, default_port, allow_range, allow_offset, allow_port, resolve)


def _inet(
    rest: str,
    text: str,
    family: str,
    kind: str,
    default_port: int | None,
    allow_range: bool,
    allow_offset: bool,
    allow_port: bool,
    resolve: Callable[[str, str], tuple[str, str] | None] | None,
) -> list[Address]:
    host, port = _split_port(rest)
    if port is not None and not allow_port:
        if (whole := _literal(rest, family)) is not None:
            return [Address(*whole, 0, kind)]
        raise ValueError(f"port specification not permitted here in '{text}'")
    low = high = default_port or 0
    relative = False
    if not port:
        if default_port is None:
            raise ValueError(f"missing port specification in '{text}'")
    else:
        match = _PORTS.fullmatch(port)
        if match is None:
            raise _bad_port(port, text)
        first, last, sign, offset = match.groups()
        if sign:
            if not allow_offset:
                raise ValueError(f"port offset not permitted here in '{text}'")
            relative = True
            low = high = int(offset) if sign == "+" else -int(offset)
            if abs(low) > 65535:
                raise ValueError(f"invalid port '{port}' in '{text}'")
        elif last is not None:
            if not allow_range:
                raise ValueError(f"port range not permitted here in '{text}'")
            low, high = int(first), int(last)
            if low < 1 or high > 65535 or low > high:
                raise ValueError(f"invalid port range '{port}' in '{text}'")
        else:
            low = high = int(first)
            if low > 65535 or (low == 0 and default_port is None):
                raise ValueError(f"invalid port '{port}' in '{text}'")
    found = _literal(host, family)
    if found is None:
        other = _literal(host, "") if family else None
        if other is not None or host.startswith("[") or "@" in host:
            raise ValueError(f"invalid address: '{host}' in '{text}'")
        if resolve is None:
            found = ("name", host)
        else:
            found = resolve(host, family)
            if found is None:
                raise Unresolved(host, text)
    return [Address(found[0], found[1], p, kind, relative) for p in range(low, high + 1)]


def parse_addresses(
    text: str, *, default_port: int | None = None, allow_range: bool = True, env: Mapping[str, str] | None = None
) -> list[Address]:
    """Several addresses separated by commas, as ``bind`` takes them (stream, port mandatory by default). Raises ValueError."""
    parts = text.split(",")
    if len(parts) > 1 and not parts[-1]:  # one comma at the end is forgiven
        parts.pop()
    found: list[Address] = []
    for part in parts:
        if not expand(part, env):
            raise ValueError(f"'{part}' resolves to an empty address (environment variable missing?)")
        found += parse_address(part, default_port=default_port, allow_range=allow_range, env=env)
    return found
