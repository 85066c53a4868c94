"""Field lines on the fast road, and the memory of those that came before.

Clients and servers say most of their lines again and again: in the next request, on the next connection, in every answer. To find one in
a dictionary costs a sixth of checking it character by character, so a line is judged once, and a head is a loop of look-ups in which
only what is new (a cookie, a date) is read. What is remembered is a verdict on bytes that are exactly the same, so it does not
matter who said them first. There is an end to it; secrets are not kept at all.

Knows one line at a time; what lines mean together is the reader's.
"""

from __future__ import annotations

import re
from typing import Final

from forkproxy.http.grammar import AUTHORITY, TOKEN, VALUE

#: How many lines of each kind of message are remembered at most (when there are more, they are learned anew): plain ones; others, among
#: them those of thousands of hosts. And of which length in bytes: two megabytes in the worst case.
MOST_PLAIN: Final = 1000
MOST_SPECIAL: Final = 4000
LONGEST: Final = 200

# What a line is.
PLAIN: Final = 0  # nothing that the reader has to know of
CAREFUL: Final = 1  # something for the careful road: wrong, folded, or a field that takes more than a look
HOST: Final = 2
CONNECTION: Final = 3  # "keep-alive" or "close"
LENGTH: Final = 4
CHUNKED: Final = 5

#: fields that are not plain: of a request, of a response
_REQUEST = rb"[CcEeHhTtUu](?i:onnection|ontent-length|e|ransfer-encoding|xpect|pgrade|ost)"
_RESPONSE = rb"[CcTtUu](?i:onnection|ontent-length|ransfer-encoding|pgrade)"
_KNOWN = (
    rb"|[Cc](?i:onnection):[ \t]*+([Kk]eep-[Aa]live|[Cc]lose)|[Cc](?i:ontent-length):[ \t]*+(0|[1-9][0-9]{0,17})"
    rb"|[Tt](?i:ransfer-encoding):[ \t]*+(chunked)"
)
_HOST = rb"|[Hh](?i:ost):[ \t]*+(" + AUTHORITY + rb"*+)"
#: plain ones that are read anew each time: with what they say somebody could be somebody else
_SECRET = rb"((?i:cookie|authorization|proxy-authorization|set-cookie)):" + VALUE + rb"*+"
#: by the last group that matched
_KINDS: Final = (PLAIN, PLAIN, CONNECTION, LENGTH, CHUNKED, HOST)


class Line:
    """What there is to know of a line that is not plain: ``kind``, one of those above, and ``value``."""

    __slots__ = ("kind", "value")

    def __init__(self, kind: int, value: bytes) -> None:
        self.kind = kind
        self.value = value


_plain: Final = Line(PLAIN, b"")
_careful: Final = Line(CAREFUL, b"")


class Lines:
    """Lines of one kind of message, without CRLF: ``plain`` are some that are, ``special`` some that are not, with what there is to know of
    them; others are asked for with :meth:`judge`."""

    __slots__ = ("_match", "plain", "special")

    def __init__(self, special: bytes, more: bytes) -> None:
        self.plain: set[bytes] = set()
        self.special: dict[bytes, Line] = {}
        self._match = re.compile(rb"%b|(?!(?:%b):)%b++:%b*+%b" % (_SECRET, special, TOKEN, VALUE, _KNOWN + more)).fullmatch

    def judge(self, line: bytes) -> Line:
        """What a line is that was not seen before."""
        match = self._match(line)
        if match is None:
            return _careful
        at = match.lastindex
        if at is None:
            if len(line) <= LONGEST:
                if len(self.plain) >= MOST_PLAIN:
                    self.plain.clear()
                self.plain.add(line)
            return _plain
        kind = _KINDS[at]
        if kind == PLAIN:
            return _plain
        found = Line(kind, match[at])
        if len(line) <= LONGEST:
            if len(self.special) >= MOST_SPECIAL:
                self.special.clear()
            self.special[line] = found
        return found


#: those of requests, of responses
REQUEST_LINES: Final = Lines(_REQUEST, _HOST)
RESPONSE_LINES: Final = Lines(_RESPONSE, b"")
