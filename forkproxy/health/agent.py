"""The agent check: a program beside the server says how the server is (manual 5.2 "agent-check").

Theory. An answer is one line of words, between blanks, tabs or commas: states (up, down, stopped, fail), wishes (ready, drain, maint),
a weight ("75%", "weight:7"), ``maxconn:N``. What follows a "#" is a description. The last word of each sort counts. An answer without a
state changes none; no answer at all changes nothing. The status is L7OK or L7STS for a state, CHECKED for none. What the words lead
to is the board's business. Compared with HAProxy's in ``tests/system/test_agent_duet.py``.
"""

from __future__ import annotations

import re

from forkproxy import registry
from forkproxy.health.conversation import About, Hop, Next, Orders, Result
from forkproxy.health.status import Status
from forkproxy.plan import Check

_SPLIT = re.compile(rb"[ \t,]+")
_PERCENT = re.compile(rb"[0-9]+%")
_STATES = frozenset({b"up", b"down", b"stopped", b"fail"})
_WISHES = frozenset({b"ready", b"drain", b"maint"})
_WEIGHT, _MAXCONN = b"weight:", b"maxconn:"


def parse_answer(line: bytes) -> Result:
    """The meaning of one line."""
    said, _, description = line.partition(b"#")
    state = wish = unknown = b""
    weight: str | None = None
    maxconn: str | None = None
    for word in filter(None, _SPLIT.split(said)):
        low = word.lower()
        if low in _STATES:
            state = word
        elif low in _WISHES:
            wish = low
        elif low.startswith(_WEIGHT):
            weight = _text(word[len(_WEIGHT) :])
        elif _PERCENT.fullmatch(word):
            weight = _text(word)
        elif low.startswith(_MAXCONN):
            maxconn = _text(word[len(_MAXCONN) :])
        else:
            unknown = unknown or word
    words = _text(description.strip() or unknown)
    orders = Orders(wish.decode(), weight, maxconn)
    if not state:
        text = f"agent reports an error : {_text(unknown)}" if unknown else ""
        return Result(Status.CHECKED, 0, text, orders)
    text = f"via agent : {state.decode()}" + (f" ({words})" if words else "")
    return Result(Status.L7OK if state.lower() == b"up" else Status.L7STS, 0, text, orders)


def _text(word: bytes) -> str:
    return word.decode("utf-8", "replace")


class AgentConversation:
    """Sends what ``agent-send`` says and reads one line."""

    __slots__ = ("_buffer", "_program")

    def __init__(self, program: AgentProgram) -> None:
        self._program = program
        self._buffer = bytearray()

    def hop(self) -> Hop:
        return self._program.hop

    def start(self) -> Next:
        return self._program.question

    def feed(self, data: bytes) -> Next:
        self._buffer += data
        match = re.search(rb"[\r\n]", self._buffer)
        if match is not None:
            return parse_answer(bytes(self._buffer[: match.start()]))
        if len(self._buffer) >= self._program.bufsize:
            return Result(Status.SOCKERR, 0, "Ignoring incomplete line from agent")
        return None

    def eof(self) -> Next:
        if not self._buffer:
            return Result(Status.L7RSP, 0, "TCPCHK got an empty response at step 2")
        return Result(Status.SOCKERR, 0, "Ignoring incomplete line from agent")

    def timeout(self) -> Result:
        return Result(Status.L7TOUT)

    def where(self) -> str:
        return ""


class AgentProgram:
    """One server's agent."""

    __slots__ = ("bufsize", "hop", "question")

    def __init__(self, check: Check) -> None:
        self.hop = Hop(send_proxy=check.send_proxy)
        self.question: bytes | None = check.options.get("send") or None
        self.bufsize = check.bufsize_bytes

    def begin(self, about: About) -> AgentConversation:
        return AgentConversation(self)


@registry.check("agent-check", synopsis="server <name> <addr> agent-check agent-port <port>")
def agent(check: Check) -> AgentProgram:
    """Ask a program beside the server for its state, its weight and its limit."""
    return AgentProgram(check)
