"""The HTTP check: one or more requests, each answered as expected (manual 4.2 "option httpchk", "http-check …").

The steps are those of ``sequence.py``; here is what makes a request of a ``send`` rule and judges an answer. An answer's head decides
``status``, ``rstatus``, ``hdr`` and ``fhdr`` at once; ``string``, ``rstring`` and ``string-lf`` look at the body as far as it has come
and at most at one buffer of it: a match decides at once, no match only when the body is complete, the buffer full, or ``min-recv`` bytes
are there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from forkproxy import registry
from forkproxy.errors import ProtocolError
from forkproxy.health.conversation import About, Hop, Result, View
from forkproxy.health.scope import Scope
from forkproxy.health.sequence import Act, Connect, Expect, Remark, Send, Sequence, Step, Walk, connect_of, statuses, with_comments
from forkproxy.health.status import Status
from forkproxy.http.message import BodyKind, ResponseHead
from forkproxy.http.reader import Limits, parse_response
from forkproxy.plan import Check, CheckStep

_MAX_FIELDS = 101
#: verdict on a complete head and what came of the body: True well, False not, None: more is needed, or why it is wrong
_Judge = Callable[[ResponseHead, bytes, bool, Scope], "bool | str | None"]
_Render = Callable[[Any], bytes]


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
    return lambda head, body, complete, scope: test(head.status) is not negate


def _judge_body(found: Callable[[bytes, Scope], object], negate: bool, min_recv: int) -> _Judge:
    def judge(head: ResponseHead, body: bytes, complete: bool, scope: Scope) -> bool | str | None:
        if not body:
            return "HTTP content check could not find a response body" if complete else None
        if not complete and len(body) < min_recv:
            return None
        if found(body, scope):
            return "HTTP check matched unwanted content" if negate else True
        if not complete and min_recv == -1:
            return None
        return True if negate else "HTTP content check did not match"

    return judge


#: matching methods of header names and values
_TESTS: dict[str, Callable[[bytes, bytes], bool]] = {
    "str": lambda value, wanted: value == wanted,
    "beg": lambda value, wanted: value.startswith(wanted),
    "end": lambda value, wanted: value.endswith(wanted),
    "sub": lambda value, wanted: wanted in value,
}


def _matcher(method: str, wanted: str | _Render, fold: bool = False) -> Callable[[bytes, Scope], object]:
    """``fold``: the name of a field, which comes in lower case."""
    if method == "reg":
        assert isinstance(wanted, str)
        search = re.compile(wanted.encode("latin-1"), re.IGNORECASE if fold else 0).search
        return lambda value, scope: search(value)
    if method not in _TESTS:
        raise ValueError(f"unknown matching method '{method}'")
    test = _TESTS[method]
    if isinstance(wanted, str):
        pattern = wanted.encode("latin-1").lower() if fold else wanted.encode("latin-1")
        return lambda value, scope: test(value, pattern)
    if fold:
        return lambda value, scope: test(value, wanted(scope).lower())
    return lambda value, scope: test(value, wanted(scope))


def _judge_header(args: Mapping[str, Any], negate: bool, split: bool) -> _Judge:
    method, pattern = args["name"]
    name_ok = _matcher(method, pattern, True)
    value_ok = _matcher(*args["value"]) if args.get("value") else None

    def match(head: ResponseHead, scope: Scope) -> bool:
        for name, value in head.items():
            if not name_ok(name.lower(), scope):
                continue
            if value_ok is None:
                return True
            parts = [part.strip() for part in value.split(b",")] if split else [value]
            if any(value_ok(part, scope) for part in parts):
                return True
        return False

    return lambda head, body, complete, scope: match(head, scope) is not negate


def _body_matcher(match: str, wanted: Any) -> Callable[[bytes, Scope], object]:
    if match == "string-lf":
        return lambda body, scope: bool(text := wanted(scope)) and text in body
    return _matcher("sub" if match == "string" else "reg", wanted)


def _wrapped(judge: _Judge, step: CheckStep, error: Status) -> Expect:
    """The step of the engine: its judge parses what came, once."""

    def look(data: bytes, ended: bool, scope: Scope) -> bool | Result | None:
        assert isinstance(scope, Reply)
        try:
            read = scope.read(data, ended)
        except ProtocolError:
            return Result(Status.L7RSP)
        if read is None:
            return Result(Status.L7RSP) if ended else None
        head, body, complete = read
        if scope.forgiving and head.status == 404:
            return Result(Status.L7OKC, 404)
        verdict = judge(head, body, complete, scope)
        if isinstance(verdict, str):
            scope.complaint = verdict.encode()
            return False
        return verdict

    args = statuses(step.args, error)
    args["on_error"] = args["on_error"] or _complaint
    return Expect(look, comment=step.comment, **args)


def _complaint(scope: Any) -> bytes:
    if scope.complaint:
        return bytes(scope.complaint)
    return scope.res.reason if scope.res is not None else b""


def _compile_expect(step: CheckStep) -> Expect:
    args = step.args
    match, negate = args["match"], bool(args.get("negate"))
    if match == "status":
        ranges = parse_codes(args["pattern"])
        return _wrapped(_judge_status(lambda status: any(status in r for r in ranges), negate), step, Status.L7STS)
    if match == "rstatus":
        search = re.compile(args["pattern"]).search
        return _wrapped(_judge_status(lambda status: search(str(status)) is not None, negate), step, Status.L7STS)
    if match in ("string", "rstring", "string-lf"):
        judge = _judge_body(_body_matcher(match, args["pattern"]), negate, args.get("min_recv", -1))
        return _wrapped(judge, step, Status.L7RSP)
    if match in ("hdr", "fhdr"):
        return _wrapped(_judge_header(args, negate, match == "hdr"), step, Status.L7STS)
    raise ValueError(f"unknown match '{match}'")


_DEFAULT_EXPECT = _wrapped(_judge_status(lambda status: 200 <= status < 400, False), CheckStep(kind="expect"), Status.L7STS)
#: before another request on the same connection
_COMPLETE = _wrapped(lambda head, body, complete, scope: complete or None, CheckStep(kind="expect"), Status.L7RSP)


def _request(base: Mapping[str, Any], args: Mapping[str, Any]) -> Callable[[Scope], bytes]:
    """The request as a function of the scope. Names go out in lower case; a body brings its length, HTTP/1.1 asks to close."""
    merged: dict[str, Any] = {**base, **{name: value for name, value in args.items() if value is not None}}
    method, uri, body = merged.get("method") or "OPTIONS", merged.get("uri") or "/", merged.get("body") or b""
    # "HTTP/1.1\r\nHost:\ www": fields hidden behind the version, which old files still have
    version, *hidden = str(merged.get("version") or "HTTP/1.0").split("\r\n")
    fields: list[tuple[Any, Any]] = [tuple(part.strip() for part in line.split(":", 1)) for line in hidden if ":" in line]  # type: ignore[misc]
    fields += [*base.get("headers", ()), *args.get("headers", ())]
    fields = [(_bytes(name).lower(), value) for name, value in fields]
    fields = [(name, value) for name, value in fields if name not in (b"content-length", b"transfer-encoding")]
    closes = version != "HTTP/1.0" and all(name != b"connection" for name, _ in fields)

    def make(scope: Scope) -> bytes:
        def text(value: Any) -> bytes:
            return value(scope) if callable(value) else _bytes(value)

        lines = [b"%b %b %b" % (_bytes(method), text(uri), version.encode("latin-1"))]
        lines += [name + b": " + text(value) for name, value in fields]
        payload = text(body)
        if payload:
            lines.append(b"content-length: %d" % len(payload))
        if closes:
            lines.append(b"connection: close")
        assert isinstance(scope, Reply)
        scope.asked = _bytes(method)
        state = state_header(scope.about.view()) if scope.tells else b""
        return b"\r\n".join(lines) + b"\r\n" + state + b"\r\n" + payload

    return make


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")


def _compile(check: Check) -> tuple[Step, ...]:
    base = check.options
    rules = with_comments(check.steps)
    made: list[Step] = []
    if not any(rule.kind == "connect" for rule in rules):
        made.append(Connect(Hop(send_proxy=check.send_proxy)))
    asked = expected = False  # of the present connection: a request is out; its answer was judged

    def ask(args: Mapping[str, Any]) -> None:
        nonlocal asked, expected
        made.append(Send(b"", _request(base, args)))
        asked, expected = True, False

    def settle() -> None:
        """Without a rule, an answer has to be 2xx or 3xx."""
        if asked and not expected:
            made.append(_DEFAULT_EXPECT)

    for rule in rules:
        if rule.kind == "connect":
            settle()
            made.append(connect_of(rule, check))
            asked = expected = False
        elif rule.kind == "send":
            settle()
            if asked:
                made.append(_COMPLETE)
            ask(rule.args)
        elif rule.kind == "expect":
            if not asked:
                ask({})
            made.append(_compile_expect(rule))
            expected = True
        elif rule.kind in ("set-var", "unset-var"):
            made.append(Act(rule.args["step"]))
        else:
            made.append(Remark())
    if not asked:
        ask({})
    settle()
    return tuple(made)


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


class Reply(Scope):
    """The scope of an HTTP check, with the answer read as far as it has come."""

    __slots__ = ("_limits", "_offset", "about", "asked", "complaint", "forgiving", "tells")

    def __init__(self, program: HttpProgram, about: About) -> None:
        assert program.backend is not None and program.server is not None
        super().__init__(program.backend, program.server, about.clock)
        self._limits = program.limits
        self._offset = 0
        self.about = about
        self.forgiving = program.disable_on_404
        self.tells = program.send_state
        self.asked = b""
        self.complaint = b""

    def forget(self) -> None:
        """A new question: the answer before it is over."""
        self.res = None
        self._offset = self.status = 0

    def read(self, data: bytes, ended: bool) -> tuple[ResponseHead, bytes, bool] | None:
        """Head, body so far and whether that is all of it; None while the head is incomplete. Raises ProtocolError."""
        while self.res is None:
            parsed = parse_response(data, self._offset, self._limits, self.asked)
            if parsed is None:
                return None
            head, self._offset = parsed
            if head.status >= 200 or head.status == 101:
                self.res = head
                self.status = head.status
        body, complete = self._body(self.res, data[self._offset :], ended)
        self.res_body = body
        return self.res, body, complete or ended

    @staticmethod
    def _body(head: ResponseHead, rest: bytes, ended: bool) -> tuple[bytes, bool]:
        if head.body is BodyKind.NONE:
            return b"", True
        if head.body is BodyKind.LENGTH:
            return rest[: head.length], len(rest) >= head.length
        if head.body is BodyKind.CHUNKED:
            return dechunk(rest)
        return rest, ended


class HttpWalk(Walk):
    """A walk that forgets the head of an answer with its bytes."""

    __slots__ = ()

    def _asks(self) -> None:
        super()._asks()
        assert isinstance(self.scope, Reply)
        self.scope.forget()


class HttpProgram(Sequence):
    """The requests of one server's checks."""

    __slots__ = ("disable_on_404", "limits", "send_state")

    def __init__(self, check: Check) -> None:
        super().__init__(_compile(check), check, told="http")
        self.disable_on_404 = check.disable_on_404
        self.send_state = check.send_state
        self.limits = Limits(head_bytes=self.bufsize, max_fields=_MAX_FIELDS)

    def begin(self, about: About) -> Walk:
        self.know(about)
        return HttpWalk(self, Reply(self, about))


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

