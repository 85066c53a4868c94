"""The HTTP check: one or more requests, each answered as expected (manual 4.2 "option httpchk", "http-check send", "http-check
expect", "http-check connect").

The steps are compiled to exchanges (a hop, a request, what to expect of the answer). An answer's head decides ``status``, ``rstatus``,
``hdr`` and ``fhdr``
at once; ``string`` and ``rstring`` look at the body as far as it has come and at most at one buffer of it: a match decides at once, no
match only when the body
is complete or the buffer full. ``min-recv`` is not needed for that and not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from forkproxy import registry
from forkproxy.errors import ProtocolError
from forkproxy.health.conversation import Hop, Next, Result, View
from forkproxy.health.status import Status
from forkproxy.http.message import BodyKind, ResponseHead
from forkproxy.http.reader import Limits, parse_response
from forkproxy.plan import Check, CheckStep
from forkproxy.values import frozen

_MAX_FIELDS = 101
#: verdict on a complete head and what came of the body: True well, False not, None: more is needed; with the text for logs
_Judge = Callable[[ResponseHead, bytes, bool], tuple[bool | None, str]]


@frozen
class _Expect:
    """One ``http-check expect``, compiled."""

    judge: _Judge
    of_body: bool
    ok: Status
    error: Status
    timeout: Status
    comment: str


@frozen
class _Exchange:
    """One request and what is expected of its answer. ``hop``: connect first (None: the connection of the exchange before)."""

    hop: Hop | None
    head: bytes  # up to, not including, the final empty line
    body: bytes
    method: bytes
    expects: tuple[_Expect, ...]


def parse_codes(text: str) -> tuple[range, ...]:
    """``"200-299,404"`` as ranges. Raises ValueError."""
    ranges = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        first = int(low)
        last = int(high) if dash else first
        if not (100 <= first <= 999 and 100 <= last <= 999):
            raise ValueError(f"invalid status code '{part}', expect 100..999")
        ranges.append(range(min(first, last), max(first, last) + 1))
    return tuple(ranges)


def _judge_status(test: Callable[[int], bool], negate: bool) -> _Judge:
    def judge(head: ResponseHead, body: bytes, complete: bool) -> tuple[bool | None, str]:
        return test(head.status) is not negate, head.reason.decode("latin-1")

    return judge


def _judge_body(found: Callable[[bytes], object], negate: bool) -> _Judge:
    def judge(head: ResponseHead, body: bytes, complete: bool) -> tuple[bool | None, str]:
        if not body:
            return (False, "HTTP content check could not find a response body") if complete else (None, "")
        if found(body):
            return (False, "HTTP check matched unwanted content") if negate else (True, "")
        if not complete:
            return None, ""
        return (True, "") if negate else (False, "HTTP content check did not match")

    return judge


def _matcher(method: str, text: str, fold: bool = False) -> Callable[[bytes], object]:
    pattern = text.encode("latin-1")
    if method == "reg":
        return re.compile(pattern, re.IGNORECASE if fold else 0).search
    if fold:
        pattern = pattern.lower()
    tests: dict[str, Callable[[bytes], object]] = {
        "str": lambda value: value == pattern,
        "beg": lambda value: value.startswith(pattern),
        "end": lambda value: value.endswith(pattern),
        "sub": lambda value: pattern in value,
    }
    if method not in tests:
        raise ValueError(f"unknown matching method '{method}'")
    return tests[method]


def _judge_header(args: Mapping[str, Any], negate: bool, split: bool) -> _Judge:
    method, pattern = args["name"]
    name_ok = _matcher(method, pattern, True)
    value_ok = _matcher(*args["value"]) if args.get("value") else None

    def match(head: ResponseHead) -> bool:
        for name, value in head.items():
            if not name_ok(name.lower()):
                continue
            if value_ok is None:
                return True
            parts = [part.strip() for part in value.split(b",")] if split else [value]
            if any(value_ok(part) for part in parts):
                return True
        return False

    def judge(head: ResponseHead, body: bytes, complete: bool) -> tuple[bool | None, str]:
        return match(head) is not negate, head.reason.decode("latin-1")

    return judge


def _compile_expect(step: CheckStep) -> _Expect:
    args = step.args
    match, negate = args["match"], bool(args.get("negate"))
    of_body = match in ("string", "rstring")
    judge: _Judge
    if match == "status":
        ranges = parse_codes(args["pattern"])
        judge = _judge_status(lambda status: any(status in r for r in ranges), negate)
    elif match == "rstatus":
        search = re.compile(args["pattern"]).search
        judge = _judge_status(lambda status: search(str(status)) is not None, negate)
    elif of_body:
        judge = _judge_body(_matcher("sub" if match == "string" else "reg", args["pattern"]), negate)
    elif match in ("hdr", "fhdr"):
        judge = _judge_header(args, negate, match == "hdr")
    else:
        raise ValueError(f"unknown match '{match}'")
    return _Expect(
        judge,
        of_body,
        Status[args.get("ok_status") or "L7OK"],
        Status[args.get("error_status") or ("L7RSP" if of_body else "L7STS")],
        Status[args.get("tout_status") or "L7TOUT"],
        step.comment,
    )


_DEFAULT_EXPECT = _Expect(_judge_status(lambda status: 200 <= status < 400, False), False, Status.L7OK, Status.L7STS, Status.L7TOUT, "")


def _request(base: Mapping[str, Any], args: Mapping[str, Any]) -> tuple[bytes, bytes, bytes]:
    """(head without the final empty line, body, method). Names go out in lower case; a body brings its length, HTTP/1.1 asks to close."""
    merged: dict[str, Any] = {**base, **{name: value for name, value in args.items() if value is not None}}
    method, uri = str(merged.get("method") or "OPTIONS"), str(merged.get("uri") or "/")
    # "HTTP/1.1\r\nHost:\ www": fields hidden behind the version, which old files still have
    version, *hidden = str(merged.get("version") or "HTTP/1.0").split("\r\n")
    fields = [tuple(part.strip() for part in line.split(":", 1)) for line in hidden if ":" in line]
    fields += list(base.get("headers", ())) + list(args.get("headers", ()))
    body: bytes = _bytes(merged.get("body") or b"")
    lines = [f"{method} {uri} {version}".encode("latin-1")]
    names = set()
    for name, value in fields:
        lower = _bytes(name).lower()
        if lower not in (b"content-length", b"transfer-encoding"):
            names.add(lower)
            lines.append(lower + b": " + _bytes(value))
    if body:
        lines.append(b"content-length: %d" % len(body))
    if version != "HTTP/1.0" and b"connection" not in names:
        lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n", body, method.encode("latin-1")


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")


def _compile(check: Check) -> tuple[_Exchange, ...]:
    base = check.options
    exchanges: list[_Exchange] = []
    hop: Hop | None = Hop(send_proxy=check.send_proxy)
    pending: tuple[bytes, bytes, bytes] | None = None
    expects: list[_Expect] = []

    def close() -> None:
        nonlocal pending, hop
        if pending is not None or expects:
            head, body, method = pending if pending is not None else _request(base, {})
            exchanges.append(_Exchange(hop, head, body, method, tuple(expects) or (_DEFAULT_EXPECT,)))
            pending, hop = None, None
            expects.clear()

    for step in check.steps:
        if step.kind == "connect":
            close()
            hop = Hop(step.args.get("address"), int(step.args.get("port") or 0), bool(step.args.get("send_proxy") or check.send_proxy))
        elif step.kind == "send":
            close()
            pending = _request(base, step.args)
        elif step.kind == "expect":
            expects.append(_compile_expect(step))
        elif step.kind != "comment":
            raise ValueError(f"'http-check {step.kind}' is not supported")
    if not exchanges and pending is None:
        pending = _request(base, {})
    close()
    return tuple(exchanges)


def dechunk(data: bytes) -> tuple[bytes, bool]:
    """The payload of a chunked body as far as it has come, and whether it is complete. Raises ProtocolError."""
    out: list[bytes] = []
    at = 0
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return b"".join(out), False
        size_text = data[at:end].split(b";", 1)[0].strip()
        if not size_text or len(size_text) > 13 or size_text.strip(b"0123456789abcdefABCDEF"):
            raise ProtocolError("bad chunk size")
        size = int(size_text, 16)
        if size == 0:
            return b"".join(out), data.startswith(b"\r\n", end + 2) or data.find(b"\r\n\r\n", end) >= 0
        out.append(data[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
        if at > len(data):
            return b"".join(out), False
        if data[at - 2 : at] != b"\r\n":
            raise ProtocolError("bad chunk end")


class HttpConversation:
    """One run through the exchanges."""

    __slots__ = ("_at", "_buffer", "_head", "_offset", "_program", "_view")

    def __init__(self, program: HttpProgram, view: View | None) -> None:
        self._program = program
        self._view = view
        self._at = 0
        self._buffer = bytearray()
        self._head: ResponseHead | None = None
        self._offset = 0

    def hop(self) -> Hop:
        return self._program.exchanges[0].hop or Hop()

    def start(self) -> Next:
        exchange = self._program.exchanges[self._at]
        state = state_header(self._view) if self._view is not None else b""
        return exchange.head + state + b"\r\n" + exchange.body

    def feed(self, data: bytes) -> Next:
        self._buffer += data
        return self._look(False)

    def eof(self) -> Next:
        return self._look(True) or Result(Status.L7RSP)

    def timeout(self) -> Result:
        return Result(self._program.exchanges[self._at].expects[0].timeout)

    def _look(self, ended: bool) -> Next:
        program = self._program
        exchange = program.exchanges[self._at]
        try:
            while self._head is None:
                parsed = parse_response(self._buffer, self._offset, program.limits, exchange.method)
                if parsed is None:
                    return Result(Status.L7RSP) if ended or len(self._buffer) >= program.bufsize else None
                head, self._offset = parsed
                if head.status >= 200 or head.status == 101:
                    self._head = head
            body, complete = self._body(self._head, ended)
        except ProtocolError:
            return Result(Status.L7RSP)
        complete = complete or ended or len(self._buffer) >= program.bufsize
        if program.disable_on_404 and self._head.status == 404:
            return Result(Status.L7OKC, 404)
        for expect in exchange.expects:
            well, text = expect.judge(self._head, body, complete)
            if well is None:
                return None
            if not well:
                return self._failed(expect, text)
        if self._at + 1 < len(program.exchanges):
            return self._next(complete)
        status = exchange.expects[-1].ok
        return Result(status, self._head.status if status.has_code else 0)

    def _failed(self, expect: _Expect, text: str) -> Result:
        assert self._head is not None
        if expect.comment:
            text = f"{text} comment: {expect.comment}" if text else f"comment: {expect.comment}"
        return Result(expect.error, self._head.status if expect.error.has_code else 0, text)

    def _next(self, complete: bool) -> Next:
        hop = self._program.exchanges[self._at + 1].hop
        if hop is None and not complete:
            return None  # the same connection: its answer must be over first
        self._at += 1
        self._buffer.clear()
        self._head, self._offset = None, 0
        return hop if hop is not None else self.start()

    def _body(self, head: ResponseHead, ended: bool) -> tuple[bytes, bool]:
        rest = bytes(self._buffer[self._offset :])
        if head.body is BodyKind.NONE:
            return b"", True
        if head.body is BodyKind.LENGTH:
            return rest[: head.length], len(rest) >= head.length
        if head.body is BodyKind.CHUNKED:
            return dechunk(rest)
        return rest, ended


class HttpProgram:
    """The exchanges of one server's checks."""

    __slots__ = ("bufsize", "disable_on_404", "exchanges", "limits", "needs_view")

    def __init__(self, check: Check) -> None:
        self.exchanges = _compile(check)
        self.disable_on_404 = check.disable_on_404
        self.needs_view = check.send_state
        self.bufsize: int = check.options.get("bufsize", 16384)
        self.limits = Limits(head_bytes=self.bufsize, max_fields=_MAX_FIELDS)

    def begin(self, view: View | None) -> HttpConversation:
        return HttpConversation(self, view)


def state_header(view: View) -> bytes:
    """The field of ``http-check send-state``, with its end of line."""
    return (
        f"x-haproxy-server-state: {view.status}; address={view.address}; port={view.port or 'unix'}; name={view.name}; node={view.node};"
        f" weight={view.weight}/{view.total_weight}; scur={view.sessions}/{view.total_sessions}; qcur={view.queued}\r\n"
    ).encode("utf-8", "surrogateescape")


@registry.check("http", synopsis="option httpchk [<method>] [<uri>] [<version>]")
def http(check: Check) -> HttpProgram:
    """Send HTTP requests and look at status, fields or body of the answers (L7OK, L7STS, L7RSP …)."""
    return HttpProgram(check)
