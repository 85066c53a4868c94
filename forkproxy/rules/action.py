"""What the factory of an action works with: the words of its rule, and helpers that compile the usual arguments.

A factory registered with ``registry.action`` gets a :class:`Parser`, reads its words up to ``if``/``unless`` and returns
``step(txn) -> Verdict | None``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from forkproxy.registry import Needs, Type
from forkproxy.rules.context import RuleContext
from forkproxy.rules.expr import Sample, compile_sample
from forkproxy.rules.logalias import request_line
from forkproxy.rules.logformat import Format, compile_format
from forkproxy.rules.patterns import compile_regex
from forkproxy.rules.words import Words, to_bytes

if TYPE_CHECKING:
    from forkproxy.rules.actions.headers import Edit

HTTP_REQ, HTTP_RES, HTTP_AFTER = "http-req", "http-res", "http-after-res"
ALL_HTTP = (HTTP_REQ, HTTP_RES, HTTP_AFTER)
TCP_CONN, TCP_SESS, TCP_CONT, TCP_RES = "tcp-req-conn", "tcp-req-sess", "tcp-req-cont", "tcp-res-cont"
ALL_TCP = (TCP_CONN, TCP_SESS, TCP_CONT, TCP_RES)
EVERYWHERE = (*ALL_TCP, *ALL_HTTP)
#: in ``tcp-check`` and ``http-check`` sequences
CHECK = "check"

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_TIME = re.compile(r"(\d+)(us|ms|s|m|h|d)?")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Parser:
    """One rule being read. ``name`` is the action's word, ``inside`` what stood in parentheses after it.

    ``needs`` grows with what the arguments need. ``edit`` is left by a rule that does nothing but edit a head.
    """

    __slots__ = ("ctx", "edit", "inside", "kind", "name", "needs", "words")

    def __init__(self, words: Words, ctx: RuleContext, kind: str, name: str, inside: str) -> None:
        self.words = words
        self.ctx = ctx
        self.kind = kind
        self.name = name
        self.inside = inside
        self.needs = Needs.NONE
        self.edit: Edit | None = None

    @property
    def on_request(self) -> bool:
        """Does the rule work on the request (else on the response)?"""
        return self.kind not in (HTTP_RES, HTTP_AFTER, TCP_RES)

    def at_end(self) -> bool:
        """True at the end of the action's own words."""
        return self.words.peek() in (None, "if", "unless")

    def word(self, what: str) -> str:
        """The next word of the action."""
        if self.at_end():
            self.words.fail(f"'{self.name}' expects {what}", max(self.words.pos - 1, 0))
        return self.words.next()

    def format(self, what: str = "a log-format string", style: str = "http") -> Format:
        """The next word as a log format."""
        if self.at_end():
            self.words.fail(f"'{self.name}' expects {what}", max(self.words.pos - 1, 0))
        made = compile_format(self.words, self.ctx, style=style)
        self.needs |= made.needs
        return made

    def text_format(self, text: str) -> Format:
        """A text that came from a file as a log format."""
        made = compile_format(text, self.ctx)
        self.needs |= made.needs
        return made

    def sample(self, want: Type = Type.ANY) -> Sample:
        """The next word as a sample expression."""
        if self.at_end():
            self.words.fail(f"'{self.name}' expects a sample expression", max(self.words.pos - 1, 0))
        made = compile_sample(self.words, self.ctx, want=want)
        self.needs |= made.needs
        return made

    def regex(self) -> re.Pattern[bytes]:
        """The next word as a regular expression."""
        text = self.word("a regular expression")
        try:
            return compile_regex(text)
        except ValueError as err:
            self.words.fail(str(err))

    def header_name(self) -> bytes:
        """The next word as the name of a header field."""
        name = self.word("a header field's name")
        if not _TOKEN.fullmatch(name):
            self.words.fail(f"'{name}' is not a valid header field name")
        return to_bytes(name)

    def integer(self, what: str, lo: int, hi: int) -> int:
        """The next word as an integer within limits."""
        text = self.word(what)
        try:
            value = int(text, 0)
        except ValueError:
            self.words.fail(f"'{self.name}' expects {what}, an integer, and not '{text}'")
        if not lo <= value <= hi:
            self.words.fail(f"'{self.name}' expects {what} from {lo} to {hi}, and not '{text}'")
        return value

    def time_s(self, what: str = "a time") -> float:
        """The next word as a time in seconds; a bare number means milliseconds."""
        text = self.word(what)
        found = _TIME.fullmatch(text)
        if found is None:
            self.words.fail(f"'{self.name}' expects {what}, and not '{text}'")
        return int(found[1]) * _UNITS[found[2] or "ms"]

    def is_time(self) -> bool:
        """Is the next word a time (and not an expression)?"""
        return _TIME.fullmatch(self.words.peek() or "") is not None


def mark(txn: Any, name: str, value: Any) -> None:
    """Leave ``value`` for the proxy in ``txn.marks``."""
    marks = txn.marks
    if marks is None:
        txn.marks = {name: value}
    else:
        marks[name] = value


def keep_request_line(txn: Any) -> None:
    """Remember the request line as received before a rule changes it: logs show the original."""
    if txn.first_line is None:
        txn.first_line = request_line(txn)
