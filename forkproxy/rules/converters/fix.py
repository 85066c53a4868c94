"""Converters of FIX messages (manual 7.3.1 "fix_…"): ``tag=value`` pairs, each ended by SOH; the first are BeginString (8), BodyLength (9)
and MsgType (35), the last is CheckSum (10)."""

from __future__ import annotations

from forkproxy.registry import Type, converter
from forkproxy.rules.args import Str
from forkproxy.rules.expr import Pure

_SOH = b"\x01"
_VERSIONS = (b"FIX.4.0", b"FIX.4.1", b"FIX.4.2", b"FIX.4.3", b"FIX.4.4", b"FIXT.1.1")
#: the tags that a message begins with
_FIRST = (b"8", b"9", b"35")
#: names that may stand for the number of a tag
_TAGS = {
    b"BeginString": 8, b"BodyLength": 9, b"MsgType": 35, b"SenderCompID": 49, b"TargetCompID": 56, b"CheckSum": 10,
}  # fmt: skip


def is_valid(message: bytes) -> bool | None:
    """Is the first message valid: begin, length and type in order, the length and the sum that it tells? None: its end is not there."""
    at = start = length = index = 0
    while (end := message.find(_SOH, at)) >= 0:
        name, _, value = message[at:end].partition(b"=")
        if not name.isdigit() or not value or (index < len(_FIRST) and name != _FIRST[index]):
            return False
        if index == 0 and value not in _VERSIONS:
            return False
        if index == 1:
            if not value.isdigit() or len(value) > 9:  # Python refuses to read thousands of digits, and no message is that long
                return False
            start, length = end + 1, int(value)
        if name == b"10":
            return length == at - start and value.isdigit() and len(value) <= 3 and sum(message[:at]) & 0xFF == int(value)
        at = end + 1
        index += 1
    return None


@converter("fix_is_valid", into=Type.BIN, out=Type.BOOL)
def fix_is_valid() -> Pure:
    """Is the first message valid FIX: its first tags, its length and its sum? Nothing while its end is not there."""
    return Pure(is_valid)


@converter("fix_tag_value", args=(Str(),), into=Type.BIN, out=Type.BIN)
def fix_tag_value(tag: bytes) -> Pure:
    """The value of a tag of a FIX message, by number or name (BeginString, BodyLength, MsgType, SenderCompID, TargetCompID, CheckSum)."""
    number = int(tag) if tag.isdigit() else _TAGS.get(tag, 0)
    if not number:
        raise ValueError(f"unknown FIX tag '{tag.decode('utf-8', 'replace')}', expected a number or one of {b', '.join(_TAGS).decode()}")
    wanted = b"%d" % number

    def convert(message: bytes) -> bytes | None:
        for pair in message.split(_SOH)[:-1]:
            name, equals, value = pair.partition(b"=")
            if equals and name == wanted:
                return value
        return None

    return Pure(convert)
