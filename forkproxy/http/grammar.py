"""The grammar of HTTP/1 as byte expressions: who may stand where. Knows nothing else.

Sources: RFC 9110 section 5, RFC 9112 sections 2 to 5, RFC 3986 section 3.2, and where those leave a choice what HAProxy does.

A note on the ``re`` of CPython 3.11: a possessive *group* with a look-ahead inside never matches before 3.11.5, and a
capture inside a possessive group can corrupt its span in every 3.11. Therefore: possessive only for single characters,
atomic groups around repeated lines, captures outside of both.
"""

from __future__ import annotations

import re

#: one character of a token (RFC 9110, 5.6.2)
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
#: one character of a request target: visible ASCII but "#"
TARGET = rb"[!\"$-~]"
#: one character of a field value on the fast road: HTAB, SP, everything visible, DEL and obs-text; other controls take the slow one
VALUE = rb"[ -\xff\t]"
#: one character of a host with an optional port (RFC 3986, 3.2.2, without user information)
AUTHORITY = rb"[A-Za-z0-9\-._~%!$&'()*+,;=:\[\]]"

is_token = re.compile(TOKEN + rb"++").fullmatch
is_target = re.compile(TARGET + rb"++").fullmatch
is_authority = re.compile(AUTHORITY + rb"*+").fullmatch
is_digits = re.compile(rb"[0-9]++").fullmatch
is_version = re.compile(rb"HTTP/([0-9])\.([0-9])").fullmatch
#: scheme, authority, rest of a target in absolute form (RFC 9112, 3.2.2)
is_absolute = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*+)://([^/?#]*+)(.*+)", re.DOTALL).fullmatch
#: host and port of an authority; the port may be absent
split_authority = re.compile(rb"(\[[^\[\]]*+\]|[^:\[\]]*+)(?::([0-9]*+))?").fullmatch
#: every empty line that may stand before a request line (RFC 9112, 2.2)
empty_lines = re.compile(rb"(?:\r?\n)*").match
#: the end of a head: an empty line, its line ends with or without CR
end_of_head = re.compile(rb"\n\r?\n").search

DEFAULT_PORTS = {b"http": b"80", b"https": b"443", b"ws": b"80", b"wss": b"443"}
OWS = b" \t"


def elements(values: list[bytes]) -> list[bytes]:
    """The elements of a comma separated list that spans ``values`` (one per field line), in lower case, white space cut."""
    return [element.strip(OWS).lower() for value in values for element in value.split(b",")]
