"""The promise between a kind of check and whoever moves its bytes.

A :class:`Program` is made once per server, a :class:`Conversation` once per check. Both know no socket and no clock: they are told
what happened (connected, bytes, end, time is up) and say what to do next. Next is one of: bytes to send, None (wait for more), a
:class:`Hop` (close, connect there, then ``start`` again), a :class:`Result` (it is over), or :class:`Parting` (send, then one of the
last two).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from forkproxy.clock import Clock
from forkproxy.health.status import Status
from forkproxy.plan import Address, Backend, Server
from forkproxy.values import frozen


@frozen
class Orders:
    """What an agent wants beside a state: ``wish`` is "ready", "drain", "maint" or ""; ``weight`` and ``maxconn`` are as said, or None."""

    wish: str = ""
    weight: str | None = None
    maxconn: str | None = None


@frozen
class Result:
    """How a check ended. ``code`` is the application's (0: none), ``text`` what logs show as "info" (may be empty)."""

    status: Status
    code: int = 0
    text: str = ""
    orders: Orders | None = None  # of agents only


@frozen
class Hop:
    """A connection to open. None and 0 mean "as for the check in general". ``linger``: close it cleanly, not by a reset."""

    address: Address | None = None
    port: int = 0
    send_proxy: bool = False
    linger: bool = False


@frozen
class Parting:
    """Bytes to send before the connection is given up."""

    data: bytes
    then: Hop | Result


@frozen
class View:
    """How the balancer sees the server when a check starts; only ``http-check send-state`` needs it.

    ``status`` as in the statistics ("UP 1/3"); weights, sessions and queue as in the manual's description of ``http-check send-state``.
    """

    status: str = "UP"
    address: str = ""
    port: int = 0
    name: str = ""
    node: str = ""
    weight: int = 0
    total_weight: int = 0
    sessions: int = 0
    total_sessions: int = 0
    queued: int = 0


@frozen
class About:
    """Whom a check is about. ``view()`` is computed when it is asked for."""

    backend: Backend
    server: Server
    clock: Clock
    view: Callable[[], View]


Next = bytes | None | Hop | Result | Parting


class Conversation(Protocol):
    """One check from connect to verdict."""

    def hop(self) -> Hop:
        """Where the first connection goes."""

    def start(self) -> Next:
        """The connection (the first one, or the one of the last Hop) is established."""

    def feed(self, data: bytes) -> Next:
        """These bytes arrived."""

    def eof(self) -> Next:
        """The server has closed its side."""

    def timeout(self) -> Result:
        """The time for an answer on an established connection is over."""

    def where(self) -> str:
        """What is added to the text of an error of the connection: which step it was, where there are several."""


@frozen
class Command:
    """A program to run in place of a conversation."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


class Program(Protocol):
    """What a kind of check compiled for one server."""

    def begin(self, about: About) -> Conversation | Command:
        """A fresh conversation, or what to run."""
