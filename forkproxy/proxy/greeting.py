"""The PROXY protocol on both ends: headers that a bind with ``accept-proxy`` expects, and those that servers with ``send-proxy`` get.

An accepted connection on such a bind says first whose it is; until the whole header is there nobody else sees the connection, and what
is no header closes it without a word (PROXY protocol, section 2). Knows the formats from ``wire.proxy_protocol``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from forkproxy.errors import ProtocolError
from forkproxy.net.sockets import reset_on_close
from forkproxy.proxy import client, counting, finish, listener
from forkproxy.proxy.accesslog import INFO
from forkproxy.rules import connerrors
from forkproxy.rules.logalias import local_stamp
from forkproxy.rules.world import unique_id
from forkproxy.wire.proxy_protocol import SIGNATURE, TYPE_UNIQUE_ID, build_v1, build_v2, parse

if TYPE_CHECKING:
    from forkproxy.proxy.client import Client
    from forkproxy.proxy.stream import ClientOrigin, Stream

#: A connection that says nothing is closed after this where ``timeout client`` sets no limit, seconds.
PATIENCE_S = 30.0
#: More than the longest header that is understood.
_ROOM = 4096

def expect(c: Client) -> None:
    """Wait for the header, then go on with ``listener.begin``; bytes behind it are left in ``c.inbuf``."""
    limit = c.fe.client_s
    c.ready = arriving
    c.expire = late
    c.loop.add(c)
    c.loop.set_deadline(c, c.t_base + (PATIENCE_S if limit is None else limit))


def arriving(c: Client, _mask: int) -> None:
    """Bytes of the header, or the end."""
    try:
        data = c.sock.recv(_ROOM)
    except (BlockingIOError, InterruptedError):
        return
    except OSError:
        refuse(c, connerrors.PRX_ABORT)
        return
    if not data:
        refuse(c, connerrors.PRX_TRUNCATED if c.inbuf else connerrors.PRX_EMPTY)
        return
    c.inbuf += data
    try:
        parsed = parse(c.inbuf)
    except ProtocolError:
        refuse(c, mistake(c.inbuf))
        return
    if parsed is None:
        return
    header, length = parsed
    c.inbuf = c.inbuf[length:]
    if not header.local:
        c.origin = origin = cast("ClientOrigin", c.origin.connection())  # what earlier rules said of its addresses is over
        if header.family == "unix":
            origin.src, origin.src_port, origin.family = "unix", 0, 0
            origin.claim("unix", 0)
        else:
            origin.src, origin.src_port = header.src, header.src_port
            origin.family = 6 if header.family == "ipv6" else 4
            origin.claim(header.dst, header.dst_port)
            origin.tlvs = header.tlvs
    c.loop.set_deadline(c, None)
    c.t_base = c.rt.clock.now
    c.ready, c.expire = client.await_head, client.head_timeout
    listener.begin(c)


def mistake(data: bytes) -> int:
    """What is wrong with a header."""
    if data.startswith(SIGNATURE):
        return connerrors.PRX_BAD_HDR if data[12:13] and data[12] >> 4 == 2 else connerrors.PRX_NOT_HDR
    if not data.startswith(b"PROXY "):
        return connerrors.PRX_NOT_HDR
    family = data[6:].partition(b" ")[0].rstrip()
    return connerrors.PRX_BAD_HDR if family in (b"TCP4", b"TCP6", b"UNKNOWN") else connerrors.PRX_BAD_PROTO


def late(c: Client) -> None:
    """``timeout client``."""
    refuse(c, connerrors.PRX_TRUNCATED if c.inbuf else connerrors.PRX_TIMEOUT)


def refuse(c: Client, error: int) -> None:
    """Close, with a line in the log unless only exchanges are to be logged (manual 8.2.5)."""
    fe = c.fe
    if fe.plan.error_log_format is not None:
        s = client.headless(c)
        s.flags = b"PR"
        s.marks = {"origin": b"sess_killed", "fc_err": error}
        fe.log.emit_refused(s)
        c.stream = None
    elif "dontlognull" not in fe.plan.options or c.inbuf:
        origin = c.origin
        when = local_stamp(origin.wall_accept)
        where = f"{fe.name}/{origin.bind.name or origin.bind.id}"
        text = f"{origin.src}:{origin.src_port} [{when}] {where}: {connerrors.ERRORS[error][1]}".encode()
        fe.log.say(INFO, c.rt.clock.wall, text)
    if c.inbuf:
        reset_on_close(c.sock)  # HAProxy leaves unread what it does not understand, so that its close becomes a reset (observed)
    counting.front_event(c.at, "req_errors")
    finish.close_client(c)


def header(s: Stream, version: int, options: tuple[str, ...]) -> bytes:
    """What a server with ``send-proxy`` (1) or ``send-proxy-v2`` (2, with ``proxy-v2-options``) gets before anything else."""
    origin = s.origin
    src, src_port, dst, dst_port = ("", 0, "", 0) if origin.family == 0 else (origin.src, origin.src_port, *origin.local())
    if version == 1:
        return build_v1(src or "unix", src_port, dst or "unix", dst_port)
    if not options:
        return build_v2(src, src_port, dst, dst_port)
    told = [(TYPE_UNIQUE_ID, ident)] if "unique-id" in options and (ident := unique_id(s)) else []
    return build_v2(src, src_port, dst, dst_port, tlvs=told, checksum="crc32c" in options)
