"""Checks as sequences of steps, the one engine behind ``tcp-check``, ``http-check`` and the checks of known protocols.

Theory. A program is a tuple of steps: connect, send, expect, act (a variable is set), remark. A conversation walks along them as far as
it can without the network: sends in a row leave together, and an expect that follows another one looks at the same bytes. A question
empties what was received before, so that an answer cannot be mistaken for the next one. An expect's judge says True (go on), False
(failed), None (more bytes are needed) or a :class:`Result` (over, whatever follows). The server's end, or a full buffer, makes it final.

What logs say of an outcome is HAProxy's wording, compared with it in ``tests/system/test_checks_duet.py``. Sans I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from forkproxy.health.conversation import About, Hop, Next, Parting, Result
from forkproxy.health.scope import Party, Scope
from forkproxy.health.status import Status
from forkproxy.plan import Check, CheckStep, Render
from forkproxy.values import frozen, replace

#: verdict on what came since the last question: (bytes, whether no more will come, scope)
Judge = Callable[[bytes, bool, Scope], "bool | Result | None"]
#: an expression of rules
Fetch = Callable[[Any], Any]


@frozen
class Connect:
    """A connection. ``port`` is computed where the rule gives an expression."""

    hop: Hop
    port: Fetch | None = None
    comment: str = ""


@frozen
class Send:
    """A question: constant bytes, or what ``render`` makes."""

    data: bytes = b""
    render: Callable[[Scope], bytes] | None = None
    comment: str = ""


@frozen
class Expect:
    """A condition on the answer. ``what`` names it in words; ``complaint`` is the text of a failure without ``on_error``."""

    judge: Judge
    ok: Status = Status.L7OK
    error: Status = Status.L7RSP
    late: Status = Status.L7TOUT
    on_success: Render | None = None
    on_error: Render | None = None
    code: Fetch | None = None
    comment: str = ""
    what: str = ""
    complaint: str = ""


@frozen
class Act:
    """Something done on the way: a variable is set."""

    step: Callable[[Any], object]


@frozen
class Remark:
    """``comment``: it is counted as a step, and said when the next one fails."""


Step = Connect | Send | Expect | Act | Remark


class Sequence:
    """The program of one server. ``told`` says in which words logs speak of it: "tcp-check" names steps, "" does not. ``first`` is
    the number of the first step, 0 where no rule says it."""

    __slots__ = ("backend", "bufsize", "first", "server", "steps", "success", "told")

    def __init__(self, steps: tuple[Step, ...], check: Check, *, told: str = "", success: str = "", number: int = 1) -> None:
        first = next((step for step in steps if not isinstance(step, (Act, Remark))), None)
        if not isinstance(first, Connect):
            raise ValueError("the first step must be a connection")
        self.steps = steps
        self.first = number
        self.bufsize = check.bufsize_bytes
        self.told = told
        self.success = success
        self.backend: Party | None = None
        self.server: Party | None = None

    def begin(self, about: About) -> Walk:
        backend, server = self.know(about)
        return Walk(self, Scope(backend, server, about.clock))

    def know(self, about: About) -> tuple[Party, Party]:
        """Whom its checks are about, for expressions."""
        if self.backend is None or self.server is None:
            self.backend, self.server = Party(about.backend), Party(about.server)
        return self.backend, self.server


class Walk:
    """One walk along the steps; ``at`` is the step that it stands at."""

    __slots__ = ("at", "buffer", "ended", "heard", "program", "scope")

    def __init__(self, program: Sequence, scope: Scope) -> None:
        self.program = program
        self.scope = scope
        self.at = 0
        self.buffer = bytearray()
        self.heard = False  # something came, or ended, since the last question
        self.ended = False

    # -- what the runner calls

    def hop(self) -> Hop:
        steps = self.program.steps
        while not isinstance(step := steps[self.at], Connect):
            if isinstance(step, Act):
                step.step(self.scope)
            self.at += 1
        return self._hop(step)

    def start(self) -> Next:
        self.at += 1
        self.ended = False
        self._asks()
        return self._go()

    def feed(self, data: bytes) -> Next:
        self.heard = True
        self.buffer += data
        if len(self.buffer) >= self.program.bufsize:
            self.ended = True
        return self._go()

    def eof(self) -> Next:
        self.heard = self.ended = True
        return self._go()

    def timeout(self) -> Result:
        step = self.program.steps[self.at]
        return Result(step.late if isinstance(step, Expect) else Status.L7TOUT, 0, self.where())

    def where(self) -> str:
        if self.program.told != "tcp-check":
            return ""
        step = self.program.steps[self.at]
        number = self.at + self.program.first
        if not number:
            return " at initial connection step of tcp-check"
        what = ""
        if isinstance(step, Connect):
            what = f"connect port {step.hop.port}" if step.hop.port else "connect"
        elif isinstance(step, Expect):
            what = f"expect {step.what}"
        comment = getattr(step, "comment", "")
        where = f" at step {number} of tcp-check"
        return where + (f" ({what})" if what else "") + (f" comment: '{comment}'" if comment else "")

    # -- walking

    def _asks(self) -> None:
        """What was received before has nothing to do with what comes now."""
        self.buffer.clear()
        self.heard = False

    def _go(self) -> Next:
        steps, out = self.program.steps, b""
        while self.at < len(steps):
            step = steps[self.at]
            if isinstance(step, Expect):
                if out:
                    return out
                if not self.heard:
                    return None
                verdict = self._judge(step)
                if verdict is None or isinstance(verdict, Result):
                    return verdict
                if not verdict:
                    return self._failed(step)
            elif isinstance(step, Send):
                self._asks()
                out += step.data if step.render is None else step.render(self.scope)
            elif isinstance(step, Connect):
                hop = self._hop(step)
                return Parting(out, hop) if out else hop
            elif isinstance(step, Act):
                step.step(self.scope)
            self.at += 1
        result = self._well(steps[-1])
        return Parting(out, result) if out else result

    def _judge(self, step: Expect) -> bool | Result | None:
        scope = self.scope
        scope.res_body = data = bytes(self.buffer)
        if self.ended and not data and self.program.told != "http":
            comment = f" comment: '{step.comment}'" if step.comment else ""
            return Result(step.error, 0, f"TCPCHK got an empty response at step {self.at + self.program.first}{comment}")
        return step.judge(data, self.ended, scope)

    def _hop(self, step: Connect) -> Hop:
        if step.port is None:
            return step.hop
        port = step.port(self.scope)
        hop = step.hop
        return Hop(hop.address, port if isinstance(port, int) and 0 < port < 65536 else 0, hop.send_proxy, hop.linger)

    # -- verdicts

    def _well(self, last: Step) -> Result:
        text = self.program.success
        if isinstance(last, Connect):
            return Result(Status.L4OK, 0, text)
        if not isinstance(last, Expect):
            return Result(Status.L7OK, 0, text)
        if last.on_success is not None:
            text = _text(last.on_success(self.scope))
        return Result(last.ok, self._code(last, last.ok), text)

    def _failed(self, step: Expect) -> Result:
        if step.on_error is not None:
            text = _text(step.on_error(self.scope))
        else:
            text = f"{step.complaint} at step {self.at + self.program.first}"
        if step.comment:
            text = f"{text} comment: {step.comment}" if text else f"comment: {step.comment}"
        return Result(step.error, self._code(step, step.error), text)

    def _code(self, step: Expect, status: Status) -> int:
        if not status.has_code:
            return 0
        code = step.code(self.scope) if step.code is not None else self.scope.status
        if isinstance(code, (bytes, str)) and code.isdigit():
            code = int(code)
        return code if isinstance(code, int) else 0


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("utf-8", "replace")


def connect_of(step: CheckStep, check: Check) -> Connect:
    """The step of a ``connect`` rule."""
    args = step.args
    port = args.get("port")
    hop = Hop(
        args.get("address"),
        port if isinstance(port, int) else 0,
        bool(args.get("send_proxy") or ((args.get("default") or not args) and check.send_proxy)),
        bool(args.get("linger")),
    )
    return Connect(hop, None if isinstance(port, int) or port is None else port, step.comment)


def statuses(args: Mapping[str, Any], error: Status = Status.L7RSP) -> dict[str, Any]:
    """The arguments of an :class:`Expect` that all ``expect`` rules share."""
    return {
        "ok": Status[args.get("ok_status") or "L7OK"],
        "error": Status[args["error_status"]] if args.get("error_status") else error,
        "late": Status[args.get("tout_status") or "L7TOUT"],
        "on_success": args.get("on_success"),
        "on_error": args.get("on_error"),
        "code": args.get("status_code"),
    }


def with_comments(rules: tuple[CheckStep, ...]) -> list[CheckStep]:
    """The rules, each with the comment that stands before it unless it has its own."""
    made: list[CheckStep] = []
    comment = ""
    for rule in rules:
        if rule.kind == "comment":
            comment = rule.comment
        elif comment and rule.kind in ("connect", "send", "expect"):
            rule = replace(rule, comment=rule.comment or comment)
            comment = ""
        made.append(rule)
    return made
