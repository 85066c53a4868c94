"""Streams of one worker for ``show sess``, and their end by ``shutdown session`` (management manual 9.3).

A stream is named by a number that no other stream of the service has: the worker's slot and the stream's own count. Idle clients have no
stream and are not shown, as in HAProxy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forkproxy.clock import Clock
from forkproxy.net.loop import INF
from forkproxy.proxy import finish, relay
from forkproxy.proxy.orders.limits import server_of
from forkproxy.proxy.runtime import Runtime
from forkproxy.proxy.sides import Side
from forkproxy.proxy.stream import Stream
from forkproxy.registry import order
from forkproxy.rules.logalias import local_stamp

#: Bits of a stream's number below the worker's slot.
_SHIFT = 40


def number(rt: Runtime, s: Stream) -> int:
    """The name of a stream: unique in the service, never 0."""
    return (rt.slot + 1) << _SHIFT | s.id


def _streams(rt: Runtime) -> list[Stream]:
    """All of them, oldest first. A copy: it is walked in slices, while streams come and go."""
    return sorted((c.stream for c in rt.clients if c.stream is not None), key=lambda s: s.id)


def _find(rt: Runtime, wanted: int) -> Stream | None:
    return next((s for s in _streams(rt) if number(rt, s) == wanted), None)


@order("show sess")
def show_sess(
    rt: Runtime, frontend: str = "", backend: str = "", server: str = "", older: float = 0.0, uri: bool = False, whole: bool = False
) -> Iterator[str]:
    """One line for each stream that all given names fit, or with ``whole`` a paragraph."""
    for s in _streams(rt):
        if s.client.stream is not s:
            continue  # it has ended since
        if (frontend and s.fe.name != frontend) or (backend and (s.be is None or s.be.name != backend)):
            continue
        if (server and (s.srv is None or s.srv.key != server)) or _age(s) < older:
            continue
        yield _paragraph(rt, s) if whole else _line(rt, s, uri)


@order("show one sess")
def show_one_sess(rt: Runtime, number: int) -> str:
    """All about one stream; "" when it is not ours."""
    s = _find(rt, number)
    return "" if s is None else _paragraph(rt, s)


@order("shutdown session")
def shutdown_session(rt: Runtime, number: int) -> bool:
    """End one stream now. Whether it was ours."""
    s = _find(rt, number)
    if s is not None:
        finish.kill(s, "killed")
    return s is not None


@order("shutdown sessions server")
def shutdown_sessions_server(rt: Runtime, server: str) -> None:
    """End all streams that are at one server now."""
    srv = server_of(rt, server)
    for s in _streams(rt):
        if s.srv is srv:
            finish.kill(s, "killed")


def _age(s: Stream) -> float:
    age: float = s.clock.now - s.t_start
    return age


def _source(s: Stream) -> str:
    origin = s.origin
    kind = {4: "tcpv4", 6: "tcpv6"}.get(origin.family, "unix_stream")
    return f"proto={kind} src={origin.src}:{origin.src_port}"


def _left(clock: Clock, side: Side | None) -> str:
    """How long until the deadline of one side, as HAProxy prints it."""
    if side is None or side.deadline == INF:
        return ""
    when = side.deadline if side.peer is None or side.flow is None else relay.due(side)
    return f"{max(0, int(when - clock.now))}s"


def _fd(w: Any) -> int:
    return -1 if w is None else w.fd


def _line(rt: Runtime, s: Stream, uri: bool) -> str:
    c, up, clock = s.client, s.up, s.clock
    waiting_c, waiting_s = _left(clock, c), _left(clock, up)
    received = len(up.inbuf) if up is not None else 0
    shown = f" uri={s.req.target.decode('latin-1')}" if uri and s.req is not None else ""
    return (
        f"{number(rt, s):#x}: {_source(s)} fe={s.fe.name} be={s.be.name if s.be is not None else '<NONE>'} "
        f"srv={s.srv.name if s.srv is not None else '<none>'} ts=00 epoch=0 age={int(_age(s))}s calls=1 rate=0 cpu=0 lat=0 "
        f"rq[f=0h,i={len(c.inbuf)},an=00h,rx={waiting_c},wx=,ax=] rp[f=0h,i={received},an=00h,rx={waiting_s},wx=,ax=] "
        f"scf=[8,0h,fd={c.fd}] scb=[8,0h,fd={_fd(up)}] exp={waiting_s or waiting_c} rc={s.retries} c_exp={shown}\n"
    )


def _paragraph(rt: Runtime, s: Stream) -> str:
    c, up, be, srv, req = s.client, s.up, s.be, s.srv, s.req
    host, port = s.origin.local()
    ends = up.ends() if up is not None else None
    lines = [
        f"{number(rt, s):#x}: [{local_stamp(s.wall_start)}] id={s.id} {_source(s).replace('src=', 'source=')}",
        f"conn_retries={s.retries}, srv_conn={srv.key if srv is not None else '<none>'}, waiting={int(s.waiting is not None)}",
        f"frontend={s.fe.name} (id={s.fe.plan.id} mode={s.fe.plan.mode}), listener={s.origin.bind.name or '?'} (id={s.origin.bind.id})"
        f" addr={host}:{port}",
    ]
    ours = f" addr={ends[0][0]}:{ends[0][1]}" if ends is not None else ""
    its = f" addr={ends[1][0]}:{ends[1][1]}" if ends is not None else ""
    lines.append("backend=<NONE> (id=-1 mode=-)" if be is None else f"backend={be.name} (id={be.plan.id} mode={be.plan.mode}){ours}")
    lines.append("server=<NONE> (id=-1)" if srv is None else f"server={srv.name} (id={srv.plan.id}){its}")
    if req is not None:
        lines.append(f"txn={req.method.decode('latin-1')} {req.target.decode('latin-1')} status={s.status}")
    for label, side, flow in (("client", c, s.req_flow), ("server", up, s.res_flow)):
        if side is not None:
            moved = flow.moved if flow is not None else 0
            lines.append(
                f"{label}=fd {side.fd} received={len(side.inbuf)} to send={len(side.out)} forwarded={moved} eof={int(side.eof)} "
                f"exp={_left(s.clock, side) or '<NEVER>'}"
            )
    lines.append(f"age={int(_age(s))}s")
    return "\n  ".join(lines) + "\n"
