"""Connections to servers from an address that is not ours (manual 4.2 "source", ``usesrc``): whose it is, is known of each stream.

Knows streams and plans. The privilege that it takes is asked for when a connection is made (``net.sockets.connect``).
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from forkproxy.plan import Address
from forkproxy.rules.web import split_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkproxy.plan import Foreign
    from forkproxy.proxy.backend import ServerRt
    from forkproxy.proxy.stream import Stream


def chooser(foreign: Foreign, srv: ServerRt) -> Callable[[Stream], dict[str, Any]]:
    """What ``net.sockets.Way`` is told for a stream: the options of ``srv``, with the address that it is to see in the place of ours. They
    stay as they are for a stream that has no such address, or one of the other family."""
    options = srv.dial_options

    def told(host: str, port: int) -> dict[str, Any]:
        family = srv.plan.address.family
        if family != ("ipv6" if ":" in host else "ipv4"):
            return options
        return {**options, "source": Address(family, host, port), "foreign": True}

    def client(s: Stream) -> dict[str, Any]:
        origin = s.origin
        return told(origin.src, origin.src_port if foreign.kind == "client" else 0) if origin.family else options

    def field(s: Stream) -> dict[str, Any]:
        if s.req is None:
            return options
        values = [value for line in s.req.get_all(foreign.header) for value in split_values(line)]
        at = foreign.occurrence
        if not -len(values) <= at <= len(values):
            return options
        try:
            address = ipaddress.ip_address(values[at - 1 if at > 0 else at].decode("latin-1"))
        except ValueError:
            return options
        return told(str(address), 0)

    return field if foreign.kind == "header" else client
