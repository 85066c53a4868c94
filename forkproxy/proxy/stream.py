"""A stream: one request and its response, or one TCP session. The transaction that rules see, plus what moves its bytes.

Owned by the client's side from its first byte to ``finish``; everything that a stream reaches is let go there, so that
reference counting frees it at once (no cycles survive a request). Knows sides, frontends and servers by type only.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from forkproxy.rules.txn import Origin, Txn

#: of a connection: our address and the other one, (host, port) each
Ends = tuple[tuple[str, int], tuple[str, int]]

if TYPE_CHECKING:

    from forkproxy.errors import StreamError
    from forkproxy.http.message import RequestHead
    from forkproxy.net.loop import Timer
    from forkproxy.proxy.backend import ServerRt
    from forkproxy.proxy.client import Client
    from forkproxy.proxy.flow import Flow
    from forkproxy.proxy.upstream import Upstream
    from forkproxy.rules.types import Addr
    from forkproxy.state.queues import Ticket

#: tcp(7), not in Python's socket module
TCP_SAVED_SYN = 28


class _Numbers:
    """What the last stream was called. An attribute, which costs a compiled module nothing (``itertools.count`` 490 instructions)."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = 0


_numbers: Final = _Numbers()

NORMAL: Final = b"--"


class ClientOrigin(Origin):
    """The origin of streams that arrived on a real socket."""

    __slots__ = ("_local", "sock", "tlvs")

    def __init__(self, sock: socket.socket, bind: Any, src: str, src_port: int, family: int, wall: float) -> None:
        self.sock = sock
        self.bind = bind
        self.src = src
        self.src_port = src_port
        self.family = family
        self.wall_accept = wall
        self.vars = None
        self.tracked = None
        self._local: tuple[str, int] | None = None
        self.tlvs: tuple[tuple[int, bytes], ...] = ()  # of its PROXY protocol header

    def local(self) -> tuple[str, int]:
        found = self._local
        if found is None:
            try:
                name = self.sock.getsockname()
            except OSError:
                name = ""
            found = self._local = (name[0], name[1]) if isinstance(name, tuple) else ("unix", 0)
        return found

    def tlv(self, kind: int) -> bytes | None:
        return next((value for number, value in self.tlvs if number == kind), None)

    def claim(self, dst: str, dst_port: int) -> None:
        """A PROXY protocol header told where the client connected to."""
        self._local = (dst, dst_port)


class Claimed(Origin):
    """The origin of a stream for which rules put something in the place of an address (set-src, set-dst …); None leaves one as it is."""

    __slots__ = ("_connection", "_dst", "_dst_port")

    def __init__(self, connection: Origin, src: Addr | None, src_port: int | None, dst: Addr | None, dst_port: int | None) -> None:
        self._connection = connection
        self._dst = dst
        self._dst_port = dst_port
        self.bind = connection.bind
        self.wall_accept = connection.wall_accept
        self.src = connection.src if src is None else src.text
        self.src_port = connection.src_port if src_port is None else src_port
        self.family = connection.family if src is None else 4 if src.is_v4 else 6

    @property
    def vars(self) -> dict[str, Any] | None:
        """Those of the connection: other streams on it see them too."""
        return self._connection.vars

    @vars.setter
    def vars(self, value: dict[str, Any] | None) -> None:
        self._connection.vars = value

    @property
    def tracked(self) -> list[Any] | None:
        """Those of the connection."""
        return self._connection.tracked

    @tracked.setter
    def tracked(self, value: list[Any] | None) -> None:
        self._connection.tracked = value

    def local(self) -> tuple[str, int]:
        host, port = self._connection.local()
        return (host if self._dst is None else self._dst.text, port if self._dst_port is None else self._dst_port)

    def connection(self) -> Origin:
        return self._connection


class Stream(Txn):
    """``client`` and ``up`` are the two sides (``up`` None while no server's connection is in use).

    ``req_flow``/``res_flow`` exist only for bodies that did not come whole with their head. ``sending`` is the request as it goes out,
    kept until the answer begins so that it can be sent again. ``then`` is what happens when the awaited event (a buffered body, the
    first bytes of a TCP session) arrives. ``error`` is set once, by ``finish.fail``.
    ``ends`` are those of the server's connection when that is gone, where a log asks for them.

    Compiled, attributes lie as they are named first, and 512 bytes are the largest piece of which the interpreter keeps a supply: therefore
    all booleans are together.
    """

    __slots__ = (
        "answered", "attempted", "avoid", "body_sent", "client", "close_client", "counted_be", "elected", "ends", "error",
        "keep_server", "logged", "mode_http", "req_done", "req_flow", "res_flow", "reused", "sending", "stage", "step", "then", "timer",
        "up", "waiting",
    )  # fmt: skip

    def __init__(
        self, client: Client, req: RequestHead | None = None, t_first: float = 0.0, t_request: float = 0.0, bytes_in: int = 0
    ) -> None:
        self.req_done = True  # the request's body was taken whole from the client
        self.reused = False  # its (last) server connection had carried requests before
        self.body_sent = False  # bytes of the body beyond ``sending`` left: no second attempt
        self.close_client = False
        self.keep_server = True
        self.attempted = False
        self.counted_be = False
        self.logged = False
        self.mode_http = req is not None
        self.answered = False  # everything was given to the client's side, the last bytes wait there
        self.client = client
        self.origin = client.origin
        self.fe = client.fe
        self.clock = client.rt.clock
        self.req = req
        _numbers.last = self.id = _numbers.last + 1
        self.be = None
        self.srv = None
        self.res = None
        self.up: Upstream | None = None
        self.body = b""
        self.body_done = False
        self.res_body = b""
        self.res_done = True
        self.status = 0
        self.first_line = None
        self.flags = NORMAL
        self.bytes_in = bytes_in
        self.bytes_out = 0
        self.retries = 0
        self.redispatched = False
        self.queue_be = 0
        self.queue_srv = 0
        self.conn_counts = (0, 0, 0, 0)
        self.captures_req = None
        self.captures_res = None
        self.cookie_req = b""
        self.cookie_res = b""
        self.kept = client.fe.kept
        self.log_level = None
        self.marks = None
        self.ends: Ends | None = None
        self.unique_id = None
        self.server_id = b"<NOSRV>"
        self.tracked = None
        self.vars = None
        self.wall_start = client.wall_base
        self.t_start = client.t_base
        self.t_first = t_first
        self.t_request = t_request
        self.t_queue = 0.0
        self.t_connect = 0.0
        self.t_response = 0.0
        self.t_end = 0.0
        self.req_flow: Flow | None = None
        self.res_flow: Flow | None = None
        self.sending = b""
        self.stage = 0  # which of a proxy's rule sets is being walked
        self.step = 0  # the rule in it to go on with
        self.error: StreamError | None = None
        self.then: Callable[[Stream], None] | None = None
        self.timer: Timer | None = None
        self.avoid: ServerRt | None = None  # the server that just failed
        self.elected: ServerRt | None = None  # the one that something else than the algorithm chose
        self.waiting: Ticket | None = None  # its place in a queue

    def log_now(self, origin: bytes, profile: str = "") -> None:
        before = self.marks
        self.marks = {**(before or {}), "origin": origin}
        self.fe.log.by_rule(self, profile)
        self.marks = before

    def stream_number(self, side: str) -> int | None:
        if not self.mode_http:
            return 0
        if side == "client":
            return self.client.served
        return None if self.up is None else self.up.uses

    def bytes_to_server(self) -> int:
        f = self.req_flow
        if not self.t_connect:
            return 0
        if not self.mode_http:
            return 0 if f is None else f.moved
        return self.sending.find(b"\r\n\r\n") + 4 + (0 if f is None else f.moved)

    def tcp_info(self, side: str) -> bytes:
        end = self.client if side == "client" else self.up
        try:
            return end.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104) if end is not None else b""
        except OSError:  # not TCP, or gone
            return b""

    def saved_syn(self) -> bytes:
        try:
            found: bytes = self.client.sock.getsockopt(socket.IPPROTO_TCP, TCP_SAVED_SYN, 256)
        except OSError:
            return b""
        return found

    def reused_server(self) -> bool:
        return self.reused

    def server_addresses(self) -> tuple[tuple[str, int], tuple[str, int]] | None:
        up = self.up
        if up is not None:
            return up.ends()
        return self.ends

    def unanswer(self) -> None:
        """What the server said is not given to the client: an answer of our own may follow."""
        self.res = None
        self.status = 0
        self.t_response = 0.0

    def be_options(self) -> frozenset[str]:
        """The options in force for this stream: the backend's where it is known."""
        options: frozenset[str] = (self.be or self.fe).plan.options
        return options
