"""``source`` of backends and servers: from which address, and which interface, servers are connected to (manual 4.2, 5.2 "source")."""

from __future__ import annotations

import re
from typing import Any

from forkproxy.config.args import Rest
from forkproxy.config.drafts import ProxyDraft
from forkproxy.config.keywords.caps import PROXIES, backend_side
from forkproxy.config.keywords.proxy import address_word
from forkproxy.config.line import Line
from forkproxy.plan import Foreign
from forkproxy.registry import keyword

_EXPECTS = "'source' expects <addr>[:<port>], and optionally 'usesrc' <addr>, and 'interface' <name> as argument."
_HEADER = re.compile(r"hdr_ip\(([^,()]+)(?:,\s*(-?\d+))?\)")
#: how far back from the last value of a field one can count, as in HAProxy
_FARTHEST = -10


def parse_source(line: Line, index: int) -> tuple[dict[str, Any], int]:
    """``<addr>[:<port>] [usesrc <what>] [interface <name>]`` from word ``index`` on: settings of ``plan.Server`` and the next index."""
    words = line.words
    if index >= len(words):
        line.fail(_EXPECTS, index)
    address = address_word(line, index, "source")
    if address.family not in ("ipv4", "ipv6"):
        line.fail(f"'source' : only an IPv4 or IPv6 address can be connected from (got '{words[index]}').", index)
    settings: dict[str, Any] = {"source": address, "source_interface": "", "foreign": None}
    index += 1
    while index < len(words) and words[index] in ("usesrc", "interface"):
        given = words[index + 1] if index + 1 < len(words) else ""
        if words[index] == "interface":
            if not given:
                line.fail("'interface' : missing interface name.", index + 1)
            settings["source_interface"] = given
        else:
            settings["foreign"] = _foreign(line, index + 1, given)
        index += 2
    return settings, index


def _foreign(line: Line, index: int, word: str) -> Foreign | None:
    if not word:
        line.fail("'usesrc' expects <addr>[:<port>], 'client', or 'clientip' as argument.", index)
    if word in ("client", "clientip"):
        return Foreign(word)
    if not word.startswith("hdr_ip("):
        address = address_word(line, index, "usesrc")
        if address.family not in ("ipv4", "ipv6"):
            line.fail(f"'usesrc' : only an IPv4 or IPv6 address can be connected from (got '{word}').", index)
        return Foreign("address", address=address)
    found = _HEADER.fullmatch(word)
    if found is None:
        line.fail("'usesrc' expects hdr_ip(<hdr>[,<occ>]).", index)
    occurrence = int(found[2] or -1)
    if occurrence < _FARTHEST:
        line.fail("usesrc hdr_ip(name,num) does not support negative occurrences values smaller than 10.", index)
    # The manual: "passing a zero here disables the feature"
    return Foreign("header", header=found[1].strip().lower().encode(), occurrence=occurrence) if occurrence else None


_USESRC = "usesrc { <addr2>[:<port2>] | client | clientip | hdr_ip(<hdr>[,<occ>]) }"


class Source:
    """The argument of a server's ``source``: settings of ``plan.Server``."""

    __slots__ = ()
    synopsis = f"<addr>[:<port>] [ {_USESRC} ] [ interface <name> ]"

    def read(self, line: Line, index: int) -> tuple[dict[str, Any], int]:
        return parse_source(line, index)


@keyword(PROXIES, "source", args=(Rest(),), synopsis=Source.synopsis)
def _source(draft: ProxyDraft, line: Line, start: int) -> None:
    """The local address, and the interface, from which servers are connected to. With ``usesrc`` they see another one, which need not be
    this machine's: that needs root, and their answers to be routed through here."""
    if backend_side(draft, line):
        draft.source, end = parse_source(line, start)
        if end < len(line.words):
            line.fail(
                "'source' only supports optional keywords 'interface' and 'usesrc'" f" (got '{line.words[end]}').", end
            )


@keyword("server", "source", args=(Source(),))
def _server_source(target: Any, line: Line, found: dict[str, Any]) -> None:
    """The local address, and the interface, from which the server is connected to; with ``usesrc`` the one that it sees (see ``source`` of
    backends)."""
    target.settings.update(found)


@keyword("server", "usesrc", args=(Rest(),))
def _usesrc(target: Any, line: Line, start: int) -> None:
    """Catches what stands in the wrong place."""
    line.fail("'usesrc' only allowed after a 'source' statement.", line.kwlen - 1)
