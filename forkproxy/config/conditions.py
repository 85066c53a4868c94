"""Conditional blocks (manual 2.4): the expression language of ``.if`` and ``-cc``, and the stack of open blocks.

Grammar: ``or := and ("||" or)? ; and := term ("&&" and)? ; term := "!"* ( "(" or ")" | predicate "(" args ")" | integer )``.
Everything is parsed even where the value is already settled, so that a wrong expression never hides. Knows no section.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum

from forkproxy import COMPAT_VERSION
from forkproxy.values import frozen

#: What ``-vv`` reports and ``feature()`` answers: what this program really has.
FEATURES = {
    "51DEGREES": False, "ACCEPT4": True, "CPU_AFFINITY": True, "CRYPT_H": False, "DEVICEATLAS": False, "EPOLL": True, "EVPORTS": False,
    "GETADDRINFO": True, "KQUEUE": False, "LINUX_SPLICE": True, "LINUX_TPROXY": True, "LUA": False, "NS": False, "OPENSSL": False,
    "OT": False, "PCRE": False, "PCRE2": False, "POLL": True, "PROMEX": True, "QUIC": False, "SLZ": False, "SYSTEMD": True,
    "TFO": True, "THREAD": False, "TPROXY": True, "WURFL": False, "ZLIB": False,
}  # fmt: skip
_ARITY = {
    "awslc_api_atleast": 1, "awslc_api_before": 1, "defined": 1, "enabled": 1, "feature": 1, "openssl_version_atleast": 1,
    "openssl_version_before": 1, "ssllib_name_startswith": 1, "streq": 2, "strneq": 2, "strstr": 2, "version_atleast": 1,
    "version_before": 1,
}  # fmt: skip
_SWITCHES = frozenset(
    {"POLL", "EPOLL", "KQUEUE", "EVPORTS", "SPLICE", "GETADDRINFO", "REUSEPORT", "FAST-FORWARD", "SERVER-SSL-VERIFY-NONE"}
)
_WORD = re.compile(r"[A-Za-z0-9_.-]+")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_VERSION = re.compile(r"([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?(?:-dev([0-9]+))?(?:-([0-9]+))?")


class ConditionError(ValueError):
    """An expression that cannot be understood; ``offset`` is where in it (0-based)."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def version_key(text: str) -> tuple[int, int, int, int, int]:
    """A comparable form of ``3.4-dev2-15`` and the like: a development version comes before its release; missing parts are zero."""
    match = _VERSION.match(text)
    if match is None:
        return (0, 0, 0, 0, 0)
    major, minor, patch, dev, commits = match.groups()
    released = 1 << 20 if dev is None else int(dev)
    return int(major), int(minor or 0), int(patch or 0), released, int(commits or 0)


@frozen
class Context:
    """What predicates look at: the environment, and which switches of ``enabled()`` are on."""

    env: Mapping[str, str]
    enabled: frozenset[str] = frozenset({"POLL", "EPOLL", "SPLICE", "GETADDRINFO", "REUSEPORT", "FAST-FORWARD"})


def _predicate(name: str, args: list[str], context: Context) -> bool:
    first = args[0] if args else ""
    match name:
        case "defined":
            return first in context.env
        case "feature":
            return FEATURES.get(first, False)
        case "streq":
            return first == args[1]
        case "strneq":
            return first != args[1]
        case "strstr":
            return args[1] in first
        case "version_atleast":
            return version_key(COMPAT_VERSION) >= version_key(first)
        case "version_before":
            return version_key(COMPAT_VERSION) < version_key(first)
        case "enabled":
            return first in context.enabled
    # openssl_*, awslc_*, ssllib_*: no TLS library is linked, so that no version of it is recent or old enough
    return False


class _Parser:
    __slots__ = ("at", "context", "text")

    def __init__(self, text: str, context: Context) -> None:
        self.text = text
        self.at = 0
        self.context = context

    def _skip(self) -> None:
        while self.text[self.at : self.at + 1] in (" ", "\t"):
            self.at += 1

    def _take(self, token: str) -> bool:
        self._skip()
        if self.text.startswith(token, self.at):
            self.at += len(token)
            return True
        return False

    def _unparsable(self, at: int) -> ConditionError:
        return ConditionError(f"unparsable conditional expression '{self.text[at:]}'", at)

    def whole(self) -> bool:
        value = self.either()
        self._skip()
        if self.at < len(self.text):
            raise ConditionError(
                f"unexpected character '{self.text[self.at]}' at the end of conditional expression '{self.text}'", self.at
            )
        return value

    def either(self) -> bool:
        value = self.both()
        if self._take("||"):
            right = self.either()
            return value or right
        return value

    def both(self) -> bool:
        value = self.term()
        if self._take("&&"):
            right = self.both()
            return value and right
        return value

    def term(self) -> bool:
        negate = False
        while self._take("!"):
            negate = not negate
        self._skip()
        start = self.at
        if self._take("("):
            value = self.either()
            if not self._take(")"):
                raise ConditionError(f"expected ')' after conditional expression '{self.text[start:]}'", self.at)
            return value != negate
        if number := _INTEGER.match(self.text, start):
            self.at = number.end()
            return (int(number.group()) != 0) != negate
        word = _WORD.match(self.text, start)
        if word is None or word.group() not in _ARITY:
            raise self._unparsable(start)
        self.at = word.end()
        name = word.group()
        args = self._arguments(name, _ARITY[name]) if self.text[self.at : self.at + 1] == "(" else []
        if len(args) < _ARITY[name] and (_ARITY[name] > 1 or not args):
            raise ConditionError(
                f"missing arguments (got {len(args)}/{_ARITY[name]}), type 'string' expected in argument {max(1, len(args))} "
                f"of predicate '{name}' used in conditional expression",
                self.at,
            )
        if name == "enabled" and args[0] not in _SWITCHES:
            raise self._unparsable(start)
        return _predicate(name, args, self.context) != negate

    def _arguments(self, name: str, most: int) -> list[str]:
        """The words between parentheses; quotes and backslashes protect commas and parentheses."""
        text = self.text
        args = [""]
        quote = ""
        i = self.at + 1
        while i < len(text):
            c = text[i]
            if c == "\\" and quote != "'" and i + 1 < len(text):
                i += 1
                args[-1] += {"n": "\n", "r": "\r", "t": "\t"}.get(text[i], text[i])
            elif quote:
                if c == quote:
                    quote = ""
                else:
                    args[-1] += c
            elif c in "\"'":
                quote = c
            elif c == ",":
                if len(args) == most:
                    break
                args.append("")
            elif c == ")":
                self.at = i + 1
                return args
            else:
                args[-1] += c
            i += 1
        before = f" before '{text[i:]}'" if i < len(text) else ""
        raise ConditionError(
            f"expected ')'{before} in argument {len(args)} of predicate '{name}' used in conditional expression", i
        )


def evaluate(text: str, context: Context) -> bool:
    """The truth of ``text``; an empty one is false. Raises ConditionError."""
    if not text.strip():
        return False
    return _Parser(text, context).whole()


class _Branch(Enum):
    """State of one open block."""

    TAKEN = "this branch is read"
    WAITING = "no branch was true so far"
    DONE = "an earlier branch was read"
    OUTER = "the block stands in a part that is skipped"


class BlockError(ValueError):
    """A directive in a wrong place; nothing after it can be understood."""


class Blocks:
    """The stack of open ``.if`` blocks of one file."""

    __slots__ = ("_stack",)

    def __init__(self) -> None:
        self._stack: list[tuple[_Branch, bool]] = []  # (state, .else seen)

    @property
    def active(self) -> bool:
        """Are lines read at this place?"""
        return not self._stack or self._stack[-1][0] is _Branch.TAKEN

    @property
    def depth(self) -> int:
        """How many blocks are open."""
        return len(self._stack)

    def directive(self, name: str, condition: Callable[[], bool]) -> None:
        """Carry out ``.if``, ``.elif``, ``.else`` or ``.endif``; ``condition`` is only called where it counts. Raises BlockError."""
        if name == ".if":
            if not self.active:
                self._stack.append((_Branch.OUTER, False))
            else:
                self._stack.append((_Branch.TAKEN if condition() else _Branch.WAITING, False))
            return
        if not self._stack:
            raise BlockError(f"lone '{name}' with no matching '.if'.")
        if name == ".endif":
            self._stack.pop()
            return
        state, has_else = self._stack[-1]
        if has_else:
            raise BlockError(f"'{name}' after '.else' is not permitted.")
        if state is _Branch.TAKEN:
            state = _Branch.DONE
        elif state is _Branch.WAITING and (name == ".else" or condition()):
            state = _Branch.TAKEN
        self._stack[-1] = (state, name == ".else")
