"""The transaction: what rules, log formats and balancing may look at and change of one stream.

``proxy`` subclasses it with what moves bytes; everything in this package is written against this class alone, so that rules are
tested with a bare ``Txn``. The object lives as long as one request and its response (HTTP) or one TCP session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forkproxy.compiled import mypyc_attr
from forkproxy.rules.types import Addr, addr_of

if TYPE_CHECKING:
    from forkproxy.clock import Clock
    from forkproxy.http.message import RequestHead, ResponseHead


@mypyc_attr(allow_interpreted_subclasses=True)
class Origin:
    """The client's connection as rules see it; one per accepted connection, shared by its streams.

    ``src``/``dst`` are text addresses (unix sockets: "unix"), ports integers; ``dst`` costs a system call, therefore :meth:`local`.
    ``wall_accept`` is the epoch at accept. ``vars`` holds sess.* variables, made on first use, ``tracked`` the
    entries of stick tables that rules of the connection hold (``rules.tables``), None mostly.
    """

    __slots__ = ("bind", "family", "src", "src_port", "tracked", "vars", "wall_accept")

    src: str
    src_port: int
    family: int
    bind: Any
    wall_accept: float
    vars: dict[str, Any] | None
    tracked: list[Any] | None

    def local(self) -> tuple[str, int]:
        """The address and port that the client connected to; ("unix", 0) where there are none."""
        return ("unix", 0)

    def tlv(self, kind: int) -> bytes | None:
        """What the PROXY protocol header said under that number; None without."""
        return None

    def connection(self) -> Origin:
        """The connection itself: another origin where rules put something in the place of an address of this one."""
        return self


@mypyc_attr(allow_interpreted_subclasses=True)
class Txn:
    """One stream as rules see it.

    Owners: proxy fills everything but ``vars``, ``captures_*``, ``unique_id``, ``log_level``, ``marks``, ``tracked``, which rules write.
    Times are epoch seconds (``wall_start``, taken at ``t_start``) or clock.now readings (``t_*``; 0.0 = not reached). Sizes in bytes.
    """

    __slots__ = (
        "be",  # backend's runtime: .name .plan; None before the choice
        "body",  # bytes buffered of the request's body (Needs.BODY), or the first bytes of a TCP session (Needs.L6)
        "body_done",  # True when ``body`` is the whole of it
        "bytes_in",
        "bytes_out",
        "captures_req",
        "captures_res",
        "clock",
        "conn_counts",  # (actconn, feconn, beconn, srvconn) of this worker at the end, for logs
        "cookie_req",
        "cookie_res",
        "fe",  # frontend's runtime: .name .plan
        "first_line",  # (method, target, version) of the request as received, once a rule has changed one of them; None mostly
        "flags",  # two bytes: termination flags (manual 8.5); those of cookies are in ``kept``
        "id",  # stream number, unique in this process
        "kept",  # what persistence knows of the stream: .letters for logs; None where there is none
        "log_level",  # None: by status; -1 silent
        "marks",  # dict of what actions set for the proxy (timeouts, nice, tos …), None mostly
        "origin",
        "queue_be",
        "queue_srv",
        "redispatched",
        "req",  # RequestHead or None (TCP)
        "res",  # ResponseHead or None
        "res_body",
        "res_done",  # False while the first bytes of a TCP server are looked at and more may come
        "retries",
        "server_id",  # what the log shows as server: name, b"<NOSRV>" …; set by proxy
        "srv",  # server's runtime: .name .plan; None before the pick
        "status",  # sent to the client; 0 none
        "t_connect",  # connection to the server established
        "t_end",
        "t_first",  # first byte of the request
        "t_queue",  # server assigned / left the queue
        "t_request",  # request head complete
        "t_response",  # response head complete
        "t_start",  # accept, or end of the previous exchange on this connection
        "tracked",  # entries of stick tables that are held until the stream ends (rules.tables), None mostly
        "unique_id",
        "vars",  # txn.*/req.*/res.* variables: {"txn.name": value}, None until the first set
        "wall_start",
    )

    origin: Origin
    clock: Clock
    fe: Any
    be: Any
    srv: Any
    req: RequestHead | None
    res: ResponseHead | None
    body: bytes | bytearray
    res_body: bytes | bytearray
    id: int
    status: int
    first_line: tuple[bytes, bytes, bytes] | None
    flags: bytes
    bytes_in: int
    bytes_out: int
    retries: int
    queue_be: int
    queue_srv: int
    conn_counts: tuple[int, int, int, int]
    captures_req: list[bytes | None] | None
    captures_res: list[bytes | None] | None
    cookie_req: bytes
    cookie_res: bytes
    kept: Any
    log_level: int | None
    marks: dict[str, Any] | None
    unique_id: bytes | None
    server_id: bytes
    tracked: list[Any] | None
    vars: dict[str, Any] | None
    wall_start: float
    t_start: float
    t_first: float
    t_request: float
    t_queue: float
    t_connect: float
    t_response: float
    t_end: float
    # Booleans side by side: one byte each where this is compiled, and elsewhere eight (see ``Stream``).
    body_done: bool
    res_done: bool
    redispatched: bool

    def source(self) -> Addr | None:
        """The client's address, or what a rule put in its place; None for unix sockets."""
        marks = self.marks
        if marks is not None and (moved := marks.get("src")) is not None:
            found: Addr = moved
            return found
        text = self.origin.src
        return addr_of(text) if text != "unix" else None

    def log_now(self, origin: bytes, profile: str = "") -> None:
        """Write a log line; ``origin`` is what ``%OG`` says, ``profile`` the log profile to use for all targets ("": each one's own)."""

    def stream_number(self, side: str) -> int | None:
        """Which stream of the "client" or "server" connection this is, from 1; 0: the connection is the stream. None: it is gone."""
        return 0

    def bytes_to_server(self) -> int:
        """What the server was sent of the request (or session) so far."""
        return 0

    def tcp_info(self, side: str) -> bytes:
        """What the kernel tells of the "client" or "server" connection (struct tcp_info); empty where it tells nothing."""
        return b""

    def saved_syn(self) -> bytes:
        """The packet that began the client's connection, if the kernel kept it and has not given it yet."""
        return b""

    def reused_server(self) -> bool:
        """Had the server's connection carried requests before?"""
        return False

    def server_addresses(self) -> tuple[tuple[str, int], tuple[str, int]] | None:
        """Our and the server's address and port on the server connection; None without one (proxy overrides this)."""
        return None
