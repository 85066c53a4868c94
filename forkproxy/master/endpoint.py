"""The master's own HTTP endpoint (global ``stats-endpoint``): /metrics for Prometheus, /health for probes, / tells what there is.

A small HTTP/1 server on the master's loop. It never blocks it: answers are generators of slices, one slice per turn of the loop and
only when the slice before
has left, so a slow scraper costs one slice of memory and a big scrape never holds up reloads or checks. Everything is bounded:
connections, the size of a request
head, the time to send one, to idle and to take an answer. Knows nothing of what it shows: ``render`` does.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator

from forkproxy.errors import ProtocolError
from forkproxy.http.message import BodyKind, RequestHead
from forkproxy.http.reader import Limits, parse_request
from forkproxy.http.writer import LAST_CHUNK, chunk, response
from forkproxy.net import sockets as net_sockets
from forkproxy.net.loop import READ, WRITE, Loop, Watched
from forkproxy.stats.query import CONTENT_TYPE_OPENMETRICS, CONTENT_TYPE_TEXT, Query, parse_query

#: ``render(query)`` gives the exposition in slices, some of them possibly empty.
RenderMetrics = Callable[[Query], Iterator[str]]

MAX_CLIENTS = 64
_LIMITS = Limits(head_bytes=8192, max_fields=100)
_REQUEST_TIMEOUT_S = 10.0  # from the first byte (or accept) to a complete head
_IDLE_TIMEOUT_S = 60.0  # between two requests; Prometheus' default interval is one minute
_SEND_TIMEOUT_S = 20.0  # without any progress of an answer
#: After a failed accept (out of descriptors) the listeners rest this long.
_ACCEPT_PAUSE_S = 0.5

_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_INDEX = b"""forkproxy

/metrics  Prometheus text or OpenMetrics (by Accept); scope=global|frontend|backend|server|listener|sticktable|worker,
          no-maint, desc-labels, metrics=name,-name
/health   200 while the master runs
"""


class _Listener(Watched):
    """One listening socket of the endpoint."""

    __slots__ = ("endpoint", "sock")

    def __init__(self, endpoint: Endpoint, sock: socket.socket) -> None:
        super().__init__(sock.fileno(), _on_accept)
        self.endpoint = endpoint
        self.sock = sock


class _Client(Watched):
    """One connection: ``incoming`` what is not yet parsed, ``outgoing`` what is not yet sent, ``slices`` what is still to be made."""

    __slots__ = ("chunked", "close", "endpoint", "incoming", "outgoing", "slices", "sock")

    def __init__(self, endpoint: Endpoint, sock: socket.socket) -> None:
        super().__init__(sock.fileno(), _on_ready, _on_late)
        self.endpoint = endpoint
        self.sock = sock
        self.incoming = b""
        self.outgoing: bytes | memoryview = b""
        self.slices: Iterator[str] | None = None
        self.chunked = False
        self.close = False

    @property
    def answering(self) -> bool:
        return bool(self.outgoing) or self.slices is not None


class Endpoint:
    """Serves on ``sockets`` (listening, non-blocking, the caller's) until :meth:`stop`. ``healthy()`` decides what /health says."""

    __slots__ = ("_clients", "_healthy", "_listeners", "_loop", "_render")

    def __init__(
        self, loop: Loop, sockets: Iterable[socket.socket], render: RenderMetrics, healthy: Callable[[], bool] | None = None
    ) -> None:
        self._loop = loop
        self._render = render
        self._healthy = healthy
        self._clients: set[_Client] = set()
        self._listeners = [_Listener(self, sock) for sock in sockets]
        for listener in self._listeners:
            loop.add(listener, READ)

    def stop(self) -> None:
        """Close every connection and leave the listening sockets alone; again: nothing happens."""
        for listener in self._listeners:
            self._loop.remove(listener)
        self._listeners.clear()
        for client in list(self._clients):
            self._drop(client)

    def __len__(self) -> int:
        """Connections at this moment."""
        return len(self._clients)

    # -- arriving

    def _accept(self, listener: _Listener) -> None:
        for _ in range(16):
            try:
                accepted = net_sockets.accept(listener.sock)
            except OSError:
                self._loop.modify(listener, 0)
                self._loop.call_later(_ACCEPT_PAUSE_S, self._resume, listener)
                return
            if accepted is None:
                return
            sock = accepted[0]
            if len(self._clients) >= MAX_CLIENTS:
                sock.close()
                continue
            client = _Client(self, sock)
            self._clients.add(client)
            client.deadline = self._loop.clock.now + _REQUEST_TIMEOUT_S
            self._loop.add(client, READ)

    def _resume(self, listener: _Listener) -> None:
        if listener in self._listeners:
            self._loop.modify(listener, READ)

    def _drop(self, client: _Client) -> None:
        self._clients.discard(client)
        self._loop.remove(client)
        client.sock.close()
        client.slices = None
        client.outgoing = b""

    # -- reading

    def _readable(self, client: _Client) -> None:
        try:
            data = client.sock.recv(16384)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        if not client.incoming:
            self._loop.set_deadline(client, self._loop.clock.now + _REQUEST_TIMEOUT_S)
        client.incoming += data
        self._next_request(client)

    def _next_request(self, client: _Client) -> None:
        try:
            parsed = parse_request(client.incoming, 0, _LIMITS)
        except ProtocolError as error:
            client.close = True
            self._answer(client, response(error.status, [_TEXT], b"bad request\n", close=True))
            return
        if parsed is None:
            return
        head, end = parsed
        client.incoming = client.incoming[end:]
        # A body is not read: it ends the connection after the answer.
        client.close = not head.keep_alive or head.close_after or head.body is not BodyKind.NONE
        self._route(client, head)

    def _route(self, client: _Client, head: RequestHead) -> None:
        path, _, query = head.target.partition(b"?")
        if path.startswith(b"http://"):
            path = b"/" + path[7:].partition(b"/")[2]
        if head.method not in (b"GET", b"HEAD"):
            self._plain(client, head, 405, b"only GET and HEAD\n", [(b"allow", b"GET, HEAD")])
        elif path == b"/metrics":
            self._metrics(client, head, query)
        elif path == b"/health":
            well = self._healthy is None or self._healthy()
            self._plain(client, head, 200 if well else 503, b"ok\n" if well else b"not ready\n")
        elif path == b"/":
            self._plain(client, head, 200, _INDEX)
        else:
            self._plain(client, head, 404, b"not found; try /metrics\n")

    def _plain(self, client: _Client, head: RequestHead, status: int, body: bytes, more: list[tuple[bytes, bytes]] | None = None) -> None:
        fields = [_TEXT, *(more or [])]
        self._answer(client, response(status, fields, body, version=head.version, close=client.close, head=head.method == b"HEAD"))

    def _metrics(self, client: _Client, head: RequestHead, raw: bytes) -> None:
        try:
            query = parse_query(raw.decode("latin-1"), head.get(b"accept"))
        except ValueError as error:
            self._plain(client, head, 400, f"{error}\n".encode())
            return
        kind = CONTENT_TYPE_OPENMETRICS if query.openmetrics else CONTENT_TYPE_TEXT
        fields = [(b"content-type", kind), (b"cache-control", b"no-cache")]
        client.chunked = head.version >= 11
        if client.chunked:
            fields.append((b"transfer-encoding", b"chunked"))
        else:
            client.close = True
        # ``head=True`` because the body follows in slices; the length is not known
        start = response(200, fields, b"", version=11, close=client.close, head=True)
        start = start.replace(b"content-length: 0\r\n", b"", 1)
        if head.method == b"GET":
            client.slices = self._render(query)
        self._answer(client, start)

    # -- writing

    def _answer(self, client: _Client, data: bytes) -> None:
        client.outgoing = data
        self._loop.set_deadline(client, self._loop.clock.now + _SEND_TIMEOUT_S)
        self._push(client)

    def _push(self, client: _Client) -> None:
        """Send what there is, then make one more slice for the next turn."""
        if client not in self._clients:
            return  # dropped between two turns
        if client.outgoing:
            try:
                sent = client.sock.send(client.outgoing)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._drop(client)
                return
            if sent:
                self._loop.set_deadline(client, self._loop.clock.now + _SEND_TIMEOUT_S)
            if sent < len(client.outgoing):
                client.outgoing = memoryview(client.outgoing)[sent:]
                self._loop.modify(client, WRITE)
                return
            client.outgoing = b""
        if client.slices is not None:
            self._loop.modify(client, 0)
            client.outgoing = self._slice(client)
            self._loop.call_soon(self._push, client)
        elif client.close:
            self._drop(client)
        else:
            self._loop.modify(client, READ)
            self._loop.set_deadline(client, self._loop.clock.now + _IDLE_TIMEOUT_S)
            if client.incoming:
                self._loop.call_soon(self._continue, client)

    def _continue(self, client: _Client) -> None:
        """A pipelined request."""
        if client in self._clients and not client.answering:
            self._loop.set_deadline(client, self._loop.clock.now + _REQUEST_TIMEOUT_S)
            self._next_request(client)

    def _slice(self, client: _Client) -> bytes:
        assert client.slices is not None
        text = next(client.slices, None)
        if text is None:
            client.slices = None
            return LAST_CHUNK if client.chunked else b""
        data = text.encode("utf-8", "surrogateescape")
        return chunk(data) if data and client.chunked else data


def _on_accept(w: _Listener, _mask: int) -> None:
    w.endpoint._accept(w)


def _on_ready(w: _Client, mask: int) -> None:
    if w.answering:
        if mask & WRITE:
            w.endpoint._push(w)
        elif mask & ~READ:  # hung up while a slice is being made: nobody will take it
            w.endpoint._drop(w)
    else:
        w.endpoint._readable(w)


def _on_late(w: _Client) -> None:
    w.endpoint._drop(w)
