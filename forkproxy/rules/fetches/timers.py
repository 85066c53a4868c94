"""Fetches of a stream's own record: times, counts, how it ended (manual 7.3.2, 7.3.3, 8.4). The log's aliases as samples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from forkproxy.registry import Needs, Type, fetch
from forkproxy.rules import phases, world
from forkproxy.rules.args import OneOf
from forkproxy.rules.expr import FetchFn

_UNIT = (OneOf("string", optional=True, default="s", words=("s", "ms", "us")),)
_SCALE = {"s": 1, "ms": 1000, "us": 1_000_000}


@fetch("accept_date", out=Type.SINT, needs=Needs.L4, uses=phases.CLIENT, args=_UNIT)
def accept_date(unit: str) -> FetchFn:
    """When the connection was accepted, since the epoch, in s, ms or us."""
    scale = _SCALE[unit]
    return lambda txn: int(txn.origin.wall_accept * scale)


@fetch("request_date", out=Type.SINT, needs=Needs.HEADERS, uses=phases.KEPT, args=_UNIT)
def request_date(unit: str) -> FetchFn:
    """When the first byte of the request came, since the epoch, in s, ms or us."""
    scale = _SCALE[unit]

    def get(txn: Any) -> int:
        first = txn.t_first
        return int((txn.wall_start + (first - txn.t_start if first else 0.0)) * scale)

    return get


def _ms(seconds_s: float) -> int:
    return int(seconds_s * 1000 + 0.01)


def _timer(name: str, doc: str, uses: Iterable[str], needs: Needs, fn: FetchFn) -> None:
    def factory() -> FetchFn:
        return fn

    factory.__doc__ = doc
    fetch(name, out=Type.SINT, needs=needs, uses=uses)(factory)


_timer("fc.timer.handshake", "Time of the handshakes of the connection (%Th).", phases.CLIENT, Needs.L4, lambda txn: 0)
_timer("fc.timer.total", "Total time of the stream (%Tt).", phases.CLIENT_STREAM, Needs.END,
       lambda txn: _ms((txn.t_end or txn.clock.now) - txn.t_start))  # fmt: skip
_timer("req.timer.idle", "Idle time before the request (%Ti).", phases.REQUEST, Needs.HEADERS,
       lambda txn: _ms(txn.t_first - txn.t_start) if txn.t_first else -1)  # fmt: skip
_timer("req.timer.hdr", "Time to receive the request's head (%TR).", phases.REQUEST, Needs.HEADERS,
       lambda txn: _ms(txn.t_request - txn.t_first) if txn.t_request else -1)  # fmt: skip
_timer("req.timer.tq", "Idle time, handshakes and time to receive the head (%Tq).", phases.REQUEST, Needs.HEADERS,
       lambda txn: _ms(txn.t_request - txn.t_start) if txn.t_request else -1)  # fmt: skip
_timer("req.timer.queue", "Time in queues (%Tw).", phases.SERVER, Needs.SERVER,
       lambda txn: _ms(txn.t_queue - (txn.t_request or txn.t_start)) if txn.t_queue else -1)  # fmt: skip
_timer("bc.timer.connect", "Time to connect to the server (%Tc).", phases.SERVER, Needs.SERVER,
       lambda txn: _ms(txn.t_connect - txn.t_queue) if txn.t_connect else -1)  # fmt: skip
_timer("res.timer.hdr", "The server's response time (%Tr).", phases.RESPONSE, Needs.RES_HEADERS,
       lambda txn: _ms(txn.t_response - txn.t_connect) if txn.t_response else -1)  # fmt: skip
_timer("res.timer.data", "Data transfer time (%Td).", phases.FROM_CHOICE, Needs.END,
       lambda txn: _ms((txn.t_end or txn.clock.now) - txn.t_response) if txn.t_response else -1)  # fmt: skip
_timer("txn.timer.total", "Active time of the stream (%Ta).", phases.KEPT, Needs.END,
       lambda txn: _ms((txn.t_end or txn.clock.now) - (txn.t_first or txn.t_start)))  # fmt: skip
_timer("txn.timer.user", "Time as the user sees it (%Tu).", phases.KEPT, Needs.END,
       lambda txn: _ms((txn.t_end or txn.clock.now) - (txn.t_first or txn.t_start)))  # fmt: skip
_timer("bytes_in", "Bytes received from the client.", phases.KEPT, Needs.L4, lambda txn: txn.bytes_in)
_timer("req.bytes_in", "Bytes of the request received from the client (%U).", phases.KEPT, Needs.L4, lambda txn: txn.bytes_in)
_timer("req.bytes_out", "Bytes of the request sent to the server.", phases.KEPT, Needs.L4, lambda txn: txn.bytes_to_server())
_timer("bytes_out", "Bytes sent to the client.", phases.FROM_CHOICE, Needs.L4, lambda txn: txn.bytes_out)
_timer("res.bytes_in", "Bytes of the response received from the server (%B).", phases.FROM_CHOICE, Needs.L4, lambda txn: txn.bytes_out)
_timer("res.bytes_out", "Bytes of the response sent to the client.", phases.FROM_CHOICE, Needs.L4, lambda txn: txn.bytes_out)
_timer("txn.conn_retries", "How often connecting to a server was tried again.", phases.SERVER, Needs.SERVER, lambda txn: txn.retries)
_timer("txn.id32", "The number of the stream, 32 bits.", phases.RUNNING, Needs.L4, lambda txn: txn.id & 0xFFFFFFFF)
_timer("txn.status", "The status code sent to the client.", phases.SERVER, Needs.HEADERS, lambda txn: txn.status)


@fetch("txn.redispatched", out=Type.BOOL, needs=Needs.SERVER, uses=phases.SERVER)
def redispatched() -> FetchFn:
    """Did the stream go to another server than the one chosen first?"""
    return lambda txn: txn.redispatched


@fetch("txn.sess_term_state", out=Type.STR, needs=Needs.END, uses=phases.RUNNING)
def sess_term_state() -> FetchFn:
    """The two termination flags (8.5)."""
    return lambda txn: txn.flags[:2]


@fetch("unique-id", out=Type.STR, needs=Needs.HEADERS, uses=phases.ANYWHERE)
def unique_id() -> FetchFn:
    """The stream's unique id, made by unique-id-format."""
    return lambda txn: world.unique_id(txn) if txn is not None and txn.fe.plan.unique_id is not None else None
