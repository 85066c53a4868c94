"""Where everything that a configuration can name is registered: one decorator per kind, documentation included.

A thing is added in one obvious file with one decorator; ``-dK``, ``docs/reference/`` and the "did you mean" of error
messages are made from these tables. Knows nothing of what it registers: factories are opaque callables.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable
from enum import IntEnum, IntFlag
from typing import Any, TypeVar

from forkproxy.values import field, frozen

F = TypeVar("F", bound=Callable[..., Any])


class Type(IntEnum):
    """Types of samples (manual 7.3). Python values: BOOL bool, SINT int, the addresses ``rules.types.Addr``, STR, BIN
    and METH bytes; None is "not found"."""

    ANY = 0
    SAME = 1  # a converter that gives back the type it got
    BOOL = 2
    SINT = 3
    ADDR = 4
    IPV4 = 5
    IPV6 = 6
    STR = 7
    BIN = 8
    METH = 9

    @property
    def label(self) -> str:
        """The name as ``-dK`` prints it."""
        return self.name.lower()


class Needs(IntFlag):
    """What must have been received before a fetch or an action can run; the OR over a frontend decides at load whether
    to look at the first bytes, read a head or buffer a body."""

    NONE = 0
    L4 = 1  # the connection: addresses, ports
    L5 = 2  # the session: TLS, PROXY header
    L6 = 4  # the first bytes of the client
    HEADERS = 8  # the request's head
    BODY = 16  # the request's body, buffered
    RES_L6 = 32  # the first bytes of the server
    RES_HEADERS = 64
    RES_BODY = 128
    SERVER = 256  # a server connection (bc_*, srv_*)
    END = 512  # known only when the stream ends (logs)
    BODY_RULED = 1024  # a rule says when and how long to wait for the request's body: nobody else does before it


#: The columns of the fetch matrix of ``-dKsmp``, in HAProxy's order: where a fetch may be used.
USES = (
    "fe-tcp-conn", "fe-tcp-sess", "fe-tcp-content", "fe-http-req", "fe-http-body", "fe-use-backend",
    "be-tcp-content", "be-http-req", "be-http-body", "be-server",
    "server-source",
    "be-tcp-res", "be-http-res", "be-http-res-body", "be-store",
    "fe-tcp-res", "fe-http-res", "fe-http-res-body", "log", "be-check", "config", "cli",
)  # fmt: skip


class Ends(IntFlag):
    """How an action ends what it stands in."""

    CONTINUE = 0
    RULESET = 1  # no rule after it in the same set is looked at
    STREAM = 2  # the stream is answered or closed by it


class Level(IntEnum):
    """Levels of the runtime CLI (management manual 9.3)."""

    USER = 0
    OPERATOR = 1
    ADMIN = 2


@frozen
class Keyword:
    """One keyword of one section. ``handler(draft, line, *values)`` is called with the values that ``args`` parsed.

    ``note`` is not empty for a keyword that is accepted without effect: it says what forkproxy does instead.
    ``synopsis`` is the argument text as the reference shows it.
    """

    section: str
    name: str
    handler: Callable[..., None]
    args: tuple[Any, ...] = ()
    default: str = ""
    synopsis: str = ""
    note: str = ""
    doc: str = ""


@frozen
class Fetch:
    """A sample fetch. ``factory(*args)`` returns ``fetch(txn) -> value | None``; ``uses`` are indices into USES."""

    name: str
    factory: Callable[..., Any]
    args: tuple[Any, ...]
    out: Type
    needs: Needs
    uses: frozenset[str]
    doc: str = ""


@frozen
class Converter:
    """A converter. ``factory(*args)`` returns ``convert(value, txn) -> value | None``, or ``rules.expr.Pure`` around
    ``convert(value)``."""

    name: str
    factory: Callable[..., Any]
    args: tuple[Any, ...]
    into: Type
    out: Type
    doc: str = ""


@frozen
class Action:
    """An action. ``factory(parser)`` reads its words and returns ``step(txn) -> Verdict | None``."""

    name: str
    factory: Callable[..., Any]
    at: frozenset[str]  # rule sets: tcp-req-conn tcp-req-sess tcp-req-cont tcp-res-cont http-req http-res http-after-res
    ends: Ends = Ends.CONTINUE
    prefix: bool = False  # the name continues in parentheses: set-var(txn.x)
    synopsis: str = ""
    doc: str = ""


@frozen
class Named:
    """Anything that needs no more than a name, a factory and its words: algorithms, checks, services, formatters."""

    name: str
    factory: Callable[..., Any]
    synopsis: str = ""
    doc: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@frozen
class Command:
    """A command of the runtime CLI. ``where`` is "master", "worker" or both; ``mode`` is "expert" or "experimental" if the session must be
    in that mode; ``handler(session, words)``."""

    name: str
    handler: Callable[..., Any]
    level: Level
    where: tuple[str, ...] = ("worker",)
    synopsis: str = ""
    doc: str = ""
    mode: str = ""


KEYWORDS: dict[tuple[str, str], Keyword] = {}
FETCHES: dict[str, Fetch] = {}
CONVERTERS: dict[str, Converter] = {}
ACTIONS: dict[tuple[str, str], Action] = {}  # (rule set, name)
ALGORITHMS: dict[str, Named] = {}
CHECKS: dict[str, Named] = {}
SERVICES: dict[str, Named] = {}
#: pages that the proxy answers with, by name: ``factory(what the plan says of it) -> step``
PAGES: dict[str, Callable[[Any], Any]] = {}
FORMATTERS: dict[str, Named] = {}
COMMANDS: dict[str, Command] = {}
#: what stands before a command at the master's CLI (its session reads them), and what they do
PREFIXES: dict[str, str] = {
    "@!<pid>": "send a command to the <pid> process",
    "@<relative pid>": "send a command to the <relative pid> process",
    "@master": "send a command to the master process",
}
#: What commands ask of the workers: name → ``carry_out(runtime, **fields)``. Registered with :func:`order`.
ORDERS: dict[str, Callable[..., Any]] = {}
#: ACL names that are a fetch with a match method: ``hdr_beg`` → ("req.hdr", "beg"). Registered with :func:`acl_alias`.
ACL_ALIASES: dict[str, tuple[str, str]] = {}


def gather(package: str) -> None:
    """Import every module of ``package`` (a dotted name), so that what they register is known: a new file needs no other mention."""
    for path in importlib.import_module(package).__path__:
        for name in sorted(os.listdir(path)):  # pkgutil would do the same and import inspect
            module, _, suffix = name.partition(".")
            if suffix == "py" and module != "__init__":
                importlib.import_module(f"{package}.{module}")


def _doc(obj: Any) -> str:
    return obj.__doc__ or ""  # as it stands in the source: taking the margin off is for those who print it


def _once(table: dict[Any, Any], key: Any, value: Any) -> None:
    if key in table:
        raise RuntimeError(f"registered twice: {key}")
    table[key] = value


def keyword(
    sections: str | Iterable[str], name: str, *, args: tuple[Any, ...] = (), default: object = "", synopsis: str = "", note: str = ""
) -> Callable[[F], F]:
    """Register a configuration keyword for one or several sections; its docstring is its reference entry."""

    def deco(fn: F) -> F:
        for section in (sections,) if isinstance(sections, str) else sections:
            entry = Keyword(section, name, fn, args, str(default), synopsis, note, _doc(fn))
            _once(KEYWORDS, (section, name), entry)
        return fn

    return deco


def fetch(
    *names: str, out: Type, needs: Needs = Needs.NONE, uses: Iterable[str] = USES, args: tuple[Any, ...] = ()
) -> Callable[[F], F]:
    """Register a sample fetch under all of ``names`` (the first is the canonical one)."""

    def deco(fn: F) -> F:
        for name in names:
            _once(FETCHES, name, Fetch(name, fn, args, out, needs, frozenset(uses), _doc(fn)))
        return fn

    return deco


def converter(*names: str, into: Type, out: Type, args: tuple[Any, ...] = ()) -> Callable[[F], F]:
    """Register a converter under all of ``names``."""

    def deco(fn: F) -> F:
        for name in names:
            _once(CONVERTERS, name, Converter(name, fn, args, into, out, _doc(fn)))
        return fn

    return deco


def action(
    *names: str, at: Iterable[str], ends: Ends = Ends.CONTINUE, prefix: bool = False, synopsis: str = ""
) -> Callable[[F], F]:
    """Register an action for the rule sets ``at``."""

    def deco(fn: F) -> F:
        places = frozenset(at)
        for name in names:
            entry = Action(name, fn, places, ends, prefix, synopsis, _doc(fn))
            for place in places:
                _once(ACTIONS, (place, name), entry)
        return fn

    return deco


def acl_alias(name: str, fetch_name: str, match: str) -> None:
    """Register an ACL name that stands for a fetch with a match method (manual 7.1.3)."""
    _once(ACL_ALIASES, name, (fetch_name, match))


def string_aliases(name: str, fetch_name: str) -> None:
    """Register the ACL names ``name``, ``name_beg`` … of a fetch that gives text: one for each way to look for a text."""
    acl_alias(name, fetch_name, "str")
    for match in ("beg", "dir", "dom", "end", "len", "reg", "sub"):
        acl_alias(f"{name}_{match}", fetch_name, match)


def _named(table: dict[str, Named], name: str, synopsis: str, extra: dict[str, Any]) -> Callable[[F], F]:
    def deco(fn: F) -> F:
        _once(table, name, Named(name, fn, synopsis, _doc(fn), extra))
        return fn

    return deco


def algorithm(name: str, *, synopsis: str = "", **extra: Any) -> Callable[[F], F]:
    """Register a balance algorithm."""
    return _named(ALGORITHMS, name, synopsis, extra)


def check(name: str, *, synopsis: str = "", **extra: Any) -> Callable[[F], F]:
    """Register a kind of health check."""
    return _named(CHECKS, name, synopsis, extra)


def service(name: str, *, synopsis: str = "", **extra: Any) -> Callable[[F], F]:
    """Register a service for ``http-request use-service``."""
    return _named(SERVICES, name, synopsis, extra)


def page(name: str) -> Callable[[F], F]:
    """Register what makes the step that answers with a page of the proxy's own ("statistics"), for rooms that may not import it."""

    def deco(fn: F) -> F:
        _once(PAGES, name, fn)
        return fn

    return deco


def formatter(name: str, *, synopsis: str = "", **extra: Any) -> Callable[[F], F]:
    """Register a log-format alias (manual 8.2.6): ``%ci``, ``%ST`` …, named without the percent sign."""
    return _named(FORMATTERS, name, synopsis, extra)


def command(
    name: str, *, level: Level, where: tuple[str, ...] = ("worker",), synopsis: str = "", mode: str = ""
) -> Callable[[F], F]:
    """Register a command of the runtime CLI."""

    def deco(fn: F) -> F:
        _once(COMMANDS, name, Command(name, fn, level, where, synopsis, _doc(fn), mode))
        return fn

    return deco


def order(name: str) -> Callable[[F], F]:
    """Register what a worker does when a command asks all workers for it: ``fn(runtime, **fields)``, called as one event of its loop.

    Fields and result are JSON values; a long answer is an iterator of text. Raises LookupError or ValueError with a text for the
    operator.
    """

    def deco(fn: F) -> F:
        _once(ORDERS, name, fn)
        return fn

    return deco
