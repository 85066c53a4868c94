"""``option tcp-check``: a connection (manual 5.2 "check"), or a sequence of questions and answers (manual 4.2 "tcp-check …").

Arguments of ``CheckStep`` as ``config`` writes them: of ``send`` ``data``, bytes or a render function; of ``expect`` ``match`` (string,
rstring, binary, rbinary, string-lf, binary-lf), ``pattern`` (bytes, a render function, or the text of a regular expression), ``shown``
(the pattern as written), ``negate``, ``min_recv`` and what ``sequence.statuses`` reads; of ``set-var`` and ``unset-var`` ``step``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from forkproxy import registry
from forkproxy.health.conversation import About, Hop, Next, Program, Result
from forkproxy.health.scope import Scope
from forkproxy.health.sequence import Act, Connect, Expect, Judge, Remark, Send, Sequence, Step, connect_of, statuses, with_comments
from forkproxy.health.status import Status
from forkproxy.plan import Check, CheckStep

_CONNECTED = Result(Status.L4OK)

#: match → how errors and steps name it; {} is the pattern as written
_NAMES = {
    "string": "string '{}'", "binary": "binary '{}'", "rstring": "regex", "rbinary": "binary regex", "string-lf": "log-format string",
    "binary-lf": "log-format binary",
}  # fmt: skip


class TcpConversation:
    """Ends with the first connection."""

    __slots__ = ("_hop", "_where")

    def __init__(self, hop: Hop, where: str) -> None:
        self._hop = hop
        self._where = where

    def hop(self) -> Hop:
        return self._hop

    def start(self) -> Next:
        return _CONNECTED

    def feed(self, data: bytes) -> Next:
        return _CONNECTED

    def eof(self) -> Next:
        return _CONNECTED

    def timeout(self) -> Result:
        return Result(Status.L4TOUT)

    def where(self) -> str:
        return self._where


class TcpProgram:
    """Nothing to compile: every check is the same."""

    __slots__ = ("_conversation",)

    def __init__(self, check: Check, where: str = "") -> None:
        self._conversation = TcpConversation(Hop(send_proxy=check.send_proxy), where)

    def begin(self, about: About) -> TcpConversation:
        return self._conversation  # it has no state to share


def pattern(
    found: Callable[[bytes, Scope], object], *, negate: bool = False, min_recv: int = -1, length: int = 0
) -> Judge:
    """A judge that looks for a pattern. Fewer bytes than ``length`` or ``min_recv`` say nothing; with ``min_recv`` -1 a pattern that
    is not there may still come, and so may one that must not be there."""

    def judge(data: bytes, ended: bool, scope: Scope) -> bool | None:
        if not ended and (len(data) < length or len(data) < min_recv):
            return None
        hit = bool(found(data, scope))
        if not hit and not ended and min_recv == -1:
            return None
        return hit is not negate

    return judge


def regex(text: str) -> Callable[[bytes, Scope], object]:
    """Looks for a regular expression."""
    search = re.compile(text.encode("utf-8", "surrogateescape")).search
    return lambda data, scope: search(data)


def hex_regex(text: str) -> Callable[[bytes, Scope], object]:
    """Looks for a regular expression in the bytes' hexadecimal digits, upper case."""
    search = re.compile(text).search
    return lambda data, scope: search(data.hex().upper())


def contains(wanted: bytes) -> Callable[[bytes, Scope], object]:
    """Looks for bytes."""
    return lambda data, scope: wanted in data


def _unhex(text: bytes) -> bytes:
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        return b""


def _rendered(render: Callable[[Any], bytes], binary: bool) -> Callable[[bytes, Scope], object]:
    """Looks for what a format makes; nothing never matches."""

    def found(data: bytes, scope: Scope) -> bool:
        wanted = render(scope)
        if binary:
            wanted = _unhex(wanted)
        return bool(wanted) and wanted in data

    return found


def _expect(step: CheckStep) -> Expect:
    args = step.args
    match, wanted = args["match"], args["pattern"]
    negate, length = bool(args.get("negate")), 0
    found: Callable[[bytes, Scope], object]
    if match in ("string", "binary"):
        found, length = contains(wanted), len(wanted)
    elif match == "rstring":
        found = regex(wanted)
    elif match == "rbinary":
        found = hex_regex(wanted)
    else:
        found = _rendered(wanted, match == "binary-lf")
    name = _NAMES[match].format(args.get("shown", ""))
    quoted = f"'{args.get('shown', '')}'" if match == "string" else f"({name.split(chr(32) + chr(39))[0]})"
    complaint = f"TCPCHK {'matched unwanted' if negate else 'did not match'} content {quoted}"
    return Expect(
        pattern(found, negate=negate, min_recv=args.get("min_recv", -1), length=length),
        comment=step.comment, what=name, complaint=complaint, **statuses(args),
    )  # fmt: skip


def _send(step: CheckStep) -> Send:
    data = step.args["data"]
    if isinstance(data, bytes):
        return Send(data, None, step.comment)
    if step.args.get("hex"):
        return Send(b"", lambda scope: _unhex(data(scope)), step.comment)
    return Send(b"", data, step.comment)


def compile_steps(check: Check) -> tuple[tuple[Step, ...], int]:
    """The steps of ``check``, one per rule, and the number of the first: a connection comes first where no rule says so."""
    made: list[Step] = []
    rules = with_comments(check.steps)
    number = 1
    if not any(rule.kind == "connect" for rule in rules):
        made.append(Connect(Hop(send_proxy=check.send_proxy)))
        number = 0
    for rule in rules:
        if rule.kind == "connect":
            made.append(connect_of(rule, check))
        elif rule.kind == "send":
            made.append(_send(rule))
        elif rule.kind == "expect":
            made.append(_expect(rule))
        elif rule.kind in ("set-var", "unset-var"):
            made.append(Act(rule.args["step"]))
        else:
            made.append(Remark())
    return tuple(made), number


@registry.check("tcp", synopsis="(no option)")
def tcp(check: Check) -> Program:
    """Connect only (L4OK when the connection is established)."""
    return TcpProgram(check)


@registry.check("tcp-check", synopsis="option tcp-check")
def tcp_check(check: Check) -> Program:
    """Carry out the ``tcp-check`` rules; without any, connect only."""
    if not check.steps:
        return TcpProgram(check, " at initial connection step of tcp-check")
    steps, number = compile_steps(check)
    return Sequence(steps, check, told="tcp-check", success="(tcp-check)", number=number)
