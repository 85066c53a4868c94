"""Accepting: from a listening socket to a client's side of the right mode.

Several connections per wake-up (``tune.maxaccept``), never beyond the frontend's or the process's limit: at a limit the listener is not
watched, so that connections wait in the kernel's queue and nothing spins. ``tcp-request connection`` and ``session`` rules run here,
before anything else is known. Knows sockets and frontends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forkproxy.net.loop import EXCLUSIVE, READ, Timer, Watched
from forkproxy.net.sockets import accept_as, kind, quickack_off, reset_on_close, silent_drop
from forkproxy.proxy import client, finish, greeting, marks, tcp, tracking
from forkproxy.proxy.stream import ClientOrigin, Stream
from forkproxy.rules.verdict import ALLOW
from forkproxy.state.doors import OPEN

if TYPE_CHECKING:
    import socket

    from forkproxy.plan import Steps
    from forkproxy.proxy.client import Client
    from forkproxy.proxy.frontend import BindRt
    from forkproxy.proxy.runtime import Runtime


class Listener(Watched):
    """One listening socket of one frontend. ``on`` tells whether it is watched now, ``retry`` when it is tried again where time is
    what lets connections in."""

    __slots__ = ("at", "batch", "exclusive", "fe", "of", "on", "retry", "rt", "sock")

    def __init__(self, rt: Runtime, at: BindRt, sock: socket.socket, exclusive: bool) -> None:
        super().__init__(sock.fileno(), ready)
        self.rt = rt
        self.at = at
        self.fe = at.fe
        self.sock = sock
        self.of = kind(sock)
        self.exclusive = exclusive
        self.batch = rt.maxaccept
        self.on = False
        self.retry: Timer | None = None
        if "tcp-smart-accept" in at.fe.plan.options:
            quickack_off(sock)  # what it accepts inherits that

    def watch(self) -> None:
        """Accept from now on."""
        if not self.on:
            self.on = True
            self.rt.loop.add(self, READ | EXCLUSIVE if self.exclusive else READ)

    def unwatch(self) -> None:
        """Leave connections in the kernel's queue."""
        if self.on:
            self.on = False
            self.rt.loop.remove(self)


def ready(w: Listener, _mask: int) -> None:
    """Connections wait."""
    rt, at, door, lsock, of = w.rt, w.at, w.at.door, w.sock, w.of
    reserved = door.reserve(w.batch)
    try:
        for _ in range(w.batch):
            if not reserved:
                answer = door.enter(rt.clock.now)
                if answer != OPEN:
                    rt.hold_back(w, max(0.0, answer / 1000.0))
                    return
                reserved = 1
            try:
                found = accept_as(lsock, of)
            except OSError as exc:
                rt.accept_failed(w, exc)
                return
            if found is None:
                break
            reserved -= 1
            admit(rt, at, found[0], found[1])
    finally:
        if reserved:
            door.undo(rt.clock.now, reserved)
    door.pass_on()


def admit(rt: Runtime, at: BindRt, sock: Any, peer: Any) -> None:
    """A new connection: the rules of layer 4, then the mode's own way."""
    fe, bind = at.fe, at.bind
    if isinstance(peer, tuple):
        src, port = peer[0], peer[1]
        family = 6 if ":" in src else 4
    else:
        src, port, family = "unix", bind.id, 0
    c = client.Client(rt, sock, at, ClientOrigin(sock, bind, src, port, family, rt.clock.wall))
    fe.accepted(at)
    rt.clients.add(c)
    try:
        steps = fe.connection_rules
        if steps is not None and not allowed(c, steps, False):
            return
        if fe.socket_options is not None:
            fe.socket_options(sock)
        if at.greeted:
            greeting.expect(c)
        else:
            begin(c)
    except Exception as exc:  # its fault, not the listener's
        rt.loop.fault(c, exc)


def begin(c: Client) -> None:
    """It is known whose connection this is: the rules of its session, then the mode's own way."""
    fe = c.fe
    if fe.session_rules is not None and not allowed(c, fe.session_rules, True):
        return
    fe.session_started(c.at)
    if fe.tracks_connections:
        tracking.session_started(c.origin, c.rt.clock)
    if not c.mask:
        c.loop.add(c)
    if fe.http:
        client.start(c)
    else:
        tcp.start(c)


def allowed(c: Client, steps: Steps, session: bool) -> bool:
    """Walk tcp-request connection (or session) rules; False: the connection was refused and is closed."""
    s = Stream(c)
    s.body_done = True  # nothing to wait for yet
    for step in steps or ():
        verdict = step(s)
        if verdict is None:
            continue
        if verdict is ALLOW:
            break
        c.fe.count_denied(session, c.at)
        c.at.door.refuse(c.rt.clock.now)
        if verdict.kind == "silent-drop":
            silent_drop(c.sock)
        elif not session:
            reset_on_close(c.sock)  # as HAProxy does (observed): nothing lingers of whom nobody wants
        finish.close_client(c)
        return False
    if s.marks is not None:
        marks.apply(s)
        c.origin = s.origin  # for every stream of this connection
    return True
