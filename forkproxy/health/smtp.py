"""``option smtpchk``: a greeting, HELO or EHLO, and QUIT, all answered with 2xx (manual 4.2; RFC 5321 4.2: codes of replies)."""

from __future__ import annotations

from forkproxy import registry
from forkproxy.health.conversation import Hop
from forkproxy.health.redis import first_line
from forkproxy.health.scope import Scope
from forkproxy.health.sequence import Connect, Expect, Judge, Send, Sequence
from forkproxy.health.status import Status
from forkproxy.health.tcp import pattern, regex
from forkproxy.plan import Check


def _words(scope: Scope) -> bytes:
    return bytes(scope.res_body)[4:].lstrip(b" ").split(b"\r", 1)[0].split(b"\n", 1)[0]


def _code(scope: Scope) -> bytes:
    return bytes(scope.res_body)[:3]


def _line(expression: str, min_recv: int = -1) -> Judge:
    """Judges what came when a line of it is complete, so that its text is, too."""
    judge = pattern(regex(expression), min_recv=min_recv)
    return lambda data, ended, scope: judge(data, ended, scope) if ended or b"\n" in data else None


def _reply(expression: str, min_recv: int = -1) -> Expect:
    return Expect(_line(expression, min_recv), error=Status.L7STS, on_error=_words, on_success=_words, code=_code)


@registry.check("smtpchk", synopsis="option smtpchk [<hello> <domain>]")
def smtp(check: Check) -> Sequence:
    """Talk to a mail server: its greeting, HELO (or EHLO) and QUIT must be answered with codes of 2xx."""
    hello = str(check.options.get("hello", "HELO localhost"))
    steps = (
        Connect(Hop(send_proxy=check.send_proxy)),
        Expect(_line(r"^[0-9]{3}[ \r]", 4), on_error=first_line),
        _reply(r"^2[0-9]{2}[ \r]", 4),
        Send(hello.encode() + b"\r\n"),
        _reply(r"^2[0-9]{2}[- \r]"),
        Send(b"QUIT\r\n"),
        _reply(r"^2[0-9]{2}[- \r]", 4),
    )
    return Sequence(steps, check)
