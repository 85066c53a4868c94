"""Lines of ``option httplog`` and ``option tcplog`` as functions that the compiled build can compile: everybody has one of them.

Below the imports is what ``logformat`` makes of these two formats, written down by ``make loglines``; a test holds it to that. All other
formats are made when the file is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkproxy.rules.logalias import local, names, thousandths, whole_line
from forkproxy.rules.logencode import captured, log_safe
from forkproxy.rules.world import connections

if TYPE_CHECKING:
    from forkproxy.rules.txn import Txn


def httplog(txn: Txn) -> bytes:
    o = txn.origin
    tf = txn.t_first
    b = txn.origin.bind
    tr = txn.t_request
    tq = txn.t_queue
    tc = txn.t_connect
    tp = txn.t_response
    te = txn.t_end or txn.clock.now
    cc = connections(txn)
    return b'%b:%d [%b.%b] %b %b/%b %d/%d/%d/%d/%d %d %d %b %b %b %d/%d/%d/%d/%b %d/%d %b%b"%b"' % (
        o.src.encode(),
        o.src_port,
        local[int(wr := txn.wall_start + (tf - txn.t_start if tf else 0.0))], thousandths[int(wr % 1 * 1000)],
        names[txn.fe.name + "~" if b.options.get("ssl") else txn.fe.name],
        names[(txn.be or txn.fe).name],
        txn.server_id,
        int((tr - tf) * 1000 + 0.01 if tr else -1),
        int((tq - (tr or txn.t_start)) * 1000 + 0.01 if tq else -1),
        int((tc - tq) * 1000 + 0.01 if tc else -1),
        int((tp - tc) * 1000 + 0.01 if tp else -1),
        int((te - (tf or txn.t_start)) * 1000 + 0.01),
        txn.status or -1,
        txn.bytes_out,
        log_safe(ck) if (ck := txn.cookie_req) else b"-",
        log_safe(cs) if (cs := txn.cookie_res) else b"-",
        txn.flags + (b"--" if (kp := txn.kept) is None else kp.letters),
        cc[0],
        cc[1],
        cc[2],
        cc[3],
        (b"+%d" if txn.redispatched else b"%d") % rc if (rc := txn.retries) else b"0",
        txn.queue_srv,
        txn.queue_be,
        txt + b" " if (txt := (captured(hd) if (hd := txn.captures_req) is not None else b"")) else b"",
        txt + b" " if (txt := (captured(hd) if (hd := txn.captures_res) is not None else b"")) else b"",
        whole_line(txn),
    )


def tcplog(txn: Txn) -> bytes:
    o = txn.origin
    b = txn.origin.bind
    tr = txn.t_request
    tq = txn.t_queue
    tc = txn.t_connect
    te = txn.t_end or txn.clock.now
    cc = connections(txn)
    return b'%b:%d [%b.%b] %b %b/%b %d/%d/%d %d %b %d/%d/%d/%d/%b %d/%d' % (
        o.src.encode(),
        o.src_port,
        local[int(wa := o.wall_accept)], thousandths[int(wa % 1 * 1000)],
        names[txn.fe.name + "~" if b.options.get("ssl") else txn.fe.name],
        names[(txn.be or txn.fe).name],
        txn.server_id,
        int((tq - (tr or txn.t_start)) * 1000 + 0.01 if tq else -1),
        int((tc - tq) * 1000 + 0.01 if tc else -1),
        int((te - txn.t_start) * 1000 + 0.01),
        txn.bytes_out,
        txn.flags[:2],
        cc[0],
        cc[1],
        cc[2],
        cc[3],
        (b"+%d" if txn.redispatched else b"%d") % rc if (rc := txn.retries) else b"0",
        txn.queue_srv,
        txn.queue_be,
    )
