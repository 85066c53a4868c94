"""``httpclient`` (management manual 9.3): what an address answers, asked from here."""

from __future__ import annotations

from forkproxy.master import http_client
from forkproxy.master.cli_session import Deferred, Refused, Session
from forkproxy.registry import Level, command


@command("httpclient", level=Level.ADMIN, mode="expert", synopsis="httpclient <method> <URI>")
def httpclient(session: Session, words: list[str]) -> Deferred:
    """Send an HTTP request and show the answer; in expert mode. A payload is its body; names are not resolved."""
    if len(words) < 3:
        raise Refused("Can't start the HTTP client: not enough parameters.")
    try:
        request = http_client.Request(words[1], words[2], (session.payload or "").encode(errors="surrogateescape"))
    except ValueError as exc:
        raise Refused(f"Can't start the HTTP client: {exc}.") from None
    answer = Deferred()
    http_client.begin(session.master.loop, request, lambda text: answer.finish(text))
    return answer
