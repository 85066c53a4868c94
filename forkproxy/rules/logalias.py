"""The aliases of log formats (manual 8.2.6): each is a Python expression over ``txn`` that ``logformat`` compiles into a line.

A formatter gets a :class:`Wish` and returns :class:`Code`. Expressions may use the names that their ``prelude`` sets and
those in :data:`NAMES`. Times are differences of ``clock.now`` readings, in milliseconds, -1 where not reached (8.4).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from forkproxy.registry import Needs, formatter
from forkproxy.rules import world
from forkproxy.rules.logencode import captured, header_safe, log_safe
from forkproxy.rules.types import addr_of
from forkproxy.rules.web import path_of
from forkproxy.values import frozen

if TYPE_CHECKING:
    from forkproxy.rules.txn import Txn


@frozen
class Wish:
    """How the alias is wanted: in hexadecimal; in which mode; before the end of the stream (logasap); in a log; in quotes."""

    hexa: bool
    mode: str
    asap: bool
    log: bool
    quote: bool = False

    def absent(self, code: str) -> str:
        """``code`` with its dash for "absent" only where there is one: in logs, outside quotes."""
        return code if self.log and not self.quote else code.replace('b"-"', 'b""')


@frozen
class Code:
    """``code`` is an expression of bytes (kind "s", or "b" when flag Q does not quote it), an integer ("d") or a float whose fraction is
    cut ("f"); ``absorbs``: an empty value takes the next blank with it. ``form`` is the conversion for it, or for several expressions of
    bytes separated by commas."""

    code: str
    kind: str = "s"
    prelude: tuple[str, ...] = ()
    needs: Needs = Needs.NONE
    absorbs: bool = False
    form: str = ""


_ORIGIN = "o = txn.origin"
_FIRST = "tf = txn.t_first"
_REQUEST = "tr = txn.t_request"
_QUEUE = "tq = txn.t_queue"
_CONNECT = "tc = txn.t_connect"
_RESPONSE = "tp = txn.t_response"
_END = "te = txn.t_end or txn.clock.now"
_COUNTS = "cc = connections(txn)"
_LINE = "rl = request_line(txn)"
#: a difference of two readings in whole milliseconds; the small term keeps 4.9999… from becoming 4
_MS = "({}) * 1000 + 0.01"

#: when the first byte of the request came, in epoch seconds
_BEGAN = "txn.wall_start + (tf - txn.t_start if tf else 0.0)"


class _Names(dict[str, bytes]):
    """Names of proxies as bytes: there are few, and they are needed in every line."""

    def __missing__(self, name: str) -> bytes:
        made = self[name] = name.encode("utf-8", "surrogateescape")
        return made


class _Seconds(dict[int, bytes]):
    """The text of a second, made once: a busy worker writes thousands of lines in it."""

    def __init__(self, form: str, convert: Callable[[float], time.struct_time]) -> None:
        super().__init__()
        self.form = form
        self.convert = convert

    def __missing__(self, second: int) -> bytes:
        if len(self) > 512:
            self.clear()
        made = self[second] = english_time(self.form, self.convert(second)).encode()
        return made


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def english_time(form: str, when: time.struct_time) -> str:
    """``strftime`` with English month names whatever the locale."""
    return time.strftime(form.replace("%b", _MONTHS[when.tm_mon - 1]), when)


def local_stamp(wall: float) -> str:
    """A moment (epoch) in local time, with milliseconds, as log lines show it."""
    return f"{english_time('%d/%b/%Y:%H:%M:%S', time.localtime(wall))}.{int(wall % 1 * 1000):03d}"


names: Final = _Names()
utc_zone: Final = _Seconds("%d/%b/%Y:%H:%M:%S +0000", time.gmtime)
local_zone: Final = _Seconds("%d/%b/%Y:%H:%M:%S %z", time.localtime)
local: Final = _Seconds("%d/%b/%Y:%H:%M:%S", time.localtime)
#: milliseconds as three digits
thousandths: Final = [b"%03d" % i for i in range(1000)]


def request_line(txn: Txn) -> tuple[bytes, bytes, bytes]:
    """Method, target and version of the request as received, even after rules rewrote it; empty without a request."""
    if txn.first_line is not None:
        return txn.first_line
    req = txn.req
    if req is None:
        return (b"", b"", b"")
    return (req.method, req.target, b"HTTP/1.1" if req.version == 11 else b"HTTP/%d.%d" % divmod(req.version, 10))


def whole_line(txn: Txn) -> bytes:
    req = txn.req
    if txn.first_line is None and req is not None and req.version == 11:  # as most are: a call and a tuple less
        text = b"%b %b HTTP/1.1" % (req.method, req.target)
    else:
        line = request_line(txn)
        if not line[0]:
            return b"<BADREQ>"
        text = b"%b %b %b" % line
    return log_safe(text[:1023])


def _captured_clf(values: list[bytes | None], quote: bool) -> bytes:
    if quote:
        return b" ".join([b'"' + (header_safe(v) if v else b"") + b'"' for v in values])
    return b" ".join([header_safe(v) if v else b"-" for v in values])


def _hex_addr(text: str) -> bytes:
    return addr_of(text).packed.hex().upper().encode()


def _server_side(txn: Txn, end: int) -> tuple[str, int]:
    """The address of one end (0 ours, 1 the server's) of the server connection, or of the chosen server."""
    found = txn.server_addresses()
    if found is not None:
        pair: tuple[str, int] = found[end]
        return pair
    if end and txn.srv is not None:
        address = txn.srv.plan.address
        return (address.host, address.port)
    return ("-", 0)


def _origin(txn: Txn) -> bytes:
    """When or by which rules a line is written (8.2.6 "%OG")."""
    if txn.marks is not None and (origin := txn.marks.get("origin")) is not None:
        found: bytes = origin
        return found
    if txn.req is None and txn.fe.plan.mode == "http":
        return b"sess_error"  # it never became a request
    return b"txn_close" if txn.t_end else b"txn_response" if txn.t_response else b"txn_connect"


#: what generated code may name
NAMES: dict[str, Any] = {
    "names": names,
    "utc_zone": utc_zone,
    "local_zone": local_zone,
    "local": local,
    "thousandths": thousandths,
    "request_line": request_line,
    "whole_line": whole_line,
    "captured": captured,
    "captured_clf": _captured_clf,
    "hex_addr": _hex_addr,
    "path_of": path_of,
    "log_safe": log_safe,
    "server_side": _server_side,
    "getpid": os.getpid,
    "unique_id": world.unique_id,
    "log_count": world.log_count,
    "connections": world.connections,
    "log_origin": _origin,
    "HOST": socket.gethostname().encode(),
}


def _simple(name: str, doc: str, code: str, kind: str = "s", *prelude: str, needs: Needs = Needs.NONE, plus: bool = False,
            hexa: bool = False, absorbs: bool = False, form: str = "", synopsis: str = "") -> None:  # fmt: skip
    """Register an alias. ``plus``: a ``+`` goes in front under logasap; ``hexa``: flag X makes it %04X."""

    def factory(wish: Wish) -> Code:
        chosen = "+%d" if plus and wish.asap else "%04X" if hexa and wish.hexa else form
        return Code(wish.absent(code), kind, prelude, needs, absorbs, chosen)

    factory.__doc__ = doc
    formatter(name, synopsis=synopsis)(factory)


def _address(name: str, doc: str, code: str, *prelude: str, needs: Needs = Needs.NONE) -> None:
    def factory(wish: Wish) -> Code:
        return Code(f"hex_addr({code})" if wish.hexa else f"{code}.encode()", "s", prelude, needs)

    factory.__doc__ = doc
    formatter(name)(factory)


_END_NEEDS = Needs.END

# dates
_simple("T", "Accept date in UTC with zone", "utc_zone[int(o.wall_accept)]", "b", _ORIGIN)
_simple("Tl", "Accept date in local time with zone", "local_zone[int(o.wall_accept)]", "b", _ORIGIN)
_simple("Ts", "Accept date in seconds since the epoch", "int(o.wall_accept)", "d", _ORIGIN, hexa=True)
_simple("t", "Accept date in local time with milliseconds", "local[int(wa := o.wall_accept)], thousandths[int(wa % 1 * 1000)]", "b",
        _ORIGIN, form="%b.%b")
_simple("ms", "Milliseconds of the accept date", "o.wall_accept % 1 * 1000", "f", _ORIGIN)
_simple("tr", "Date of the request's first byte, local time with milliseconds",
        f"local[int(wr := {_BEGAN})], thousandths[int(wr % 1 * 1000)]", "b", _FIRST, form="%b.%b")  # fmt: skip
_simple("trg", "Date of the request's first byte in UTC with zone", f"utc_zone[int({_BEGAN})]", "b", _FIRST)
_simple("trl", "Date of the request's first byte in local time with zone", f"local_zone[int({_BEGAN})]", "b", _FIRST)

# times
_ALL = (_FIRST, _REQUEST, _QUEUE, _CONNECT, _RESPONSE, _END)
_simple("Th", "Handshake time", "0", "d")
_simple("Ti", "Idle time before the request", _MS.format("tf - txn.t_start") + " if tf else -1", "f", _FIRST)
_simple("TR", "Time to receive the request", _MS.format("tr - tf") + " if tr else -1", "f", _FIRST, _REQUEST)
_simple("Tq", "Th + Ti + TR", _MS.format("tr - txn.t_start") + " if tr else -1", "f", _REQUEST)
_simple("Tw", "Time in queues", _MS.format("tq - (tr or txn.t_start)") + " if tq else -1", "f", _REQUEST, _QUEUE)
_simple("Tc", "Time to connect to the server", _MS.format("tc - tq") + " if tc else -1", "f", _QUEUE, _CONNECT)
_simple("Tr", "Server's response time", _MS.format("tp - tc") + " if tp else -1", "f", _CONNECT, _RESPONSE)
_simple("Td", "Data transfer time", _MS.format("te - (tp or tc)") + " if tp or (tc and txn.req is None) else -1", "f",
        _CONNECT, _RESPONSE, _END, needs=_END_NEEDS)  # fmt: skip
_simple("Ta", "Active time of the request", _MS.format("te - (tf or txn.t_start)"), "f", _FIRST, _END, needs=_END_NEEDS, plus=True)
_simple("Tt", "Total time of the stream", _MS.format("te - txn.t_start"), "f", _END, needs=_END_NEEDS, plus=True)
_simple("Tu", "Time as the user sees it, without idle time", _MS.format("te - (tf or txn.t_start)"), "f", _FIRST, _END,
        needs=_END_NEEDS, plus=True)  # fmt: skip

# addresses
_address("ci", "Client address", "o.src", _ORIGIN)
_simple("cp", "Client port", "o.src_port", "d", _ORIGIN, hexa=True)
_address("fi", "Address the client connected to", "txn.origin.local()[0]")
_simple("fp", "Port the client connected to", "txn.origin.local()[1]", "d", hexa=True)
_address("bi", "Our address on the server connection", "server_side(txn, 0)[0]", needs=Needs.SERVER)
_simple("bp", "Our port on the server connection", "server_side(txn, 0)[1]", "d", hexa=True, needs=Needs.SERVER)
_address("si", "Server's address", "server_side(txn, 1)[0]")
_simple("sp", "Server's port", "server_side(txn, 1)[1]", "d", hexa=True)

# names
_simple("f", "Frontend's name", "names[txn.fe.name]")
_simple("ft", "Frontend's name, with ~ on a TLS listener", 'names[txn.fe.name + "~" if b.options.get("ssl") else txn.fe.name]', "s",
        "b = txn.origin.bind")  # fmt: skip
_simple("b", "Backend's name (the frontend's before a choice)", "names[(txn.be or txn.fe).name]")
_simple("s", "Server's name, <NOSRV>, <STATS> …", "txn.server_id")
_simple("H", "Host name", "HOST")
_simple("ID", "Unique id", 'unique_id(txn) or b"-"')
_simple("pid", "Process id", "getpid()", "d", hexa=True)
_simple("rt", "Number of the stream", "txn.id", "d", hexa=True)
_simple("lc", "Number of the line in this frontend", "log_count(txn)", "d")
_simple("OG", "When the line was made", "log_origin(txn)")
_simple("sslc", "TLS cipher", 'b"-"')
_simple("sslv", "TLS version", 'b"-"')

# counts
_simple("B", "Bytes to the client", "txn.bytes_out", "d", needs=_END_NEEDS, plus=True)
_simple("U", "Bytes from the client", "txn.bytes_in", "d", needs=_END_NEEDS)
_simple("ac", "Connections of the service, over all workers", "cc[0]", "d", _COUNTS)
_simple("fc", "Connections of the frontend, over all workers", "cc[1]", "d", _COUNTS)
_simple("bc", "Streams of the backend, over all workers", "cc[2]", "d", _COUNTS)
_simple("sc", "Streams on the server, over all workers", "cc[3]", "d", _COUNTS)
_simple("rc", "Retries, + after a redispatch", '(b"+%d" if txn.redispatched else b"%d") % rc if (rc := txn.retries) else b"0"', "b")
_simple("sq", "Streams ahead in the server's queue", "txn.queue_srv", "d")
_simple("bq", "Streams ahead in the backend's queue", "txn.queue_be", "d")


@formatter("ST")
def _status(wish: Wish) -> Code:
    """Status code sent to the client"""
    return Code("txn.status" if wish.mode == "tcp" else "txn.status or -1", "d")


_simple("ts", "Termination flags", "txn.flags[:2]", "b")
_simple("tsc", "Termination flags with those of the cookie", 'txn.flags + (b"--" if (kp := txn.kept) is None else kp.letters)', "b")


# the request
def _http(name: str, doc: str, code: str, *prelude: str) -> None:
    def factory(wish: Wish) -> Code:
        return Code(wish.absent(code), "s", prelude, Needs.HEADERS)

    factory.__doc__ = doc
    formatter(name)(factory)


_http("r", "Request line", "whole_line(txn)")
_http("HM", "Method", 'log_safe(rl[0]) or b"<BADREQ>"', _LINE)
_http("HU", "Target", 'log_safe(rl[1]) or b"<BADREQ>"', _LINE)
_http("HP", "Target without query", 'log_safe(rl[1].partition(b"?")[0]) or b"<BADREQ>"', _LINE)
_http("HPO", "Path without host and query", 'log_safe(path_of(rl[1]) or b"-") if rl[0] else b"<BADREQ>"', _LINE)
_http("HQ", "Query string with its question mark", 'log_safe(b"".join(rl[1].partition(b"?")[1:])) if rl[0] else b"<BADREQ>"', _LINE)
_http("HV", "Protocol version", 'rl[2] or b"<BADREQ>"', _LINE)
_simple("CC", "Captured request cookie", 'log_safe(ck) if (ck := txn.cookie_req) else b"-"')
_simple("CS", "Captured response cookie", 'log_safe(cs) if (cs := txn.cookie_res) else b"-"')
_simple("hr", "Captured request headers", 'captured(hd) if (hd := txn.captures_req) is not None else b""', absorbs=True)
_simple("hs", "Captured response headers", 'captured(hd) if (hd := txn.captures_res) is not None else b""', absorbs=True)


def _clf_list(name: str, doc: str, slot: str) -> None:
    def factory(wish: Wish) -> Code:
        code = f'captured_clf(hd, {wish.quote}) if (hd := txn.{slot}) is not None else b""'
        return Code(code, "b", absorbs=True)

    factory.__doc__ = doc
    formatter(name)(factory)


_clf_list("hrl", "Captured request headers, CLF style", "captures_req")
_clf_list("hsl", "Captured response headers, CLF style", "captures_res")
