"""What a rule's step gives back: nothing (go on) or a verdict that ends the rule set or the stream.

Shared by rules (which make verdicts) and proxy (which carries them out). Knows no socket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forkproxy.net.pipes import Content
from forkproxy.values import frozen


@frozen
class Verdict:
    """``kind`` is one of: allow (rule set ends), wait (more bytes are needed: call again), pause, reply, auth, deny, reject,
    silent-drop, tarpit, service, switch (a TCP session becomes HTTP)."""

    kind: str


@frozen
class Reply(Verdict):
    """Answer the client instead of a server (return, redirect, auth, deny, tarpit with a reply).

    ``status`` the code, ``reason`` b"" for the usual one, ``headers(txn)`` the fields in order, ``body(txn)`` the payload or None.
    ``body`` None and kind "deny"/"tarpit": the proxy's configured error for ``status``. ``denied`` tells that it counts as a
    denied request (deny, tarpit, auth) and is logged with flags "PR"/"PT"; otherwise it is "LR". ``close`` ends the client's connection.
    ``default_error``: the proxy's configured error for ``status`` is the message, with ``headers`` added; ``raw``: a whole message
    to send as it is (empty: close silently), after which the connection ends. ``large``: what ``body`` gives always, and is large enough
    for sendfile.
    """

    status: int = 200
    reason: bytes = b""
    headers: Callable[[Any], list[tuple[bytes, bytes]]] | None = None
    body: Callable[[Any], bytes] | None = None
    content_type: bytes = b""
    denied: bool = False
    close: bool = False
    default_error: bool = False
    raw: bytes | None = None
    large: Content | None = None


@frozen
class Service(Verdict):
    """Let a registered service answer: ``handler(txn) -> (status, headers, body)``, or None when it answers later."""

    handler: Callable[[Any], tuple[int, list[tuple[bytes, bytes]], bytes] | None] | None = None


@frozen
class Pause(Verdict):
    """Go on with the next rule after ``delay_s``."""

    delay_s: float = 0.0


ALLOW = Verdict("allow")
WAIT = Verdict("wait")
REJECT = Verdict("reject")
SILENT_DROP = Verdict("silent-drop")
SWITCH = Verdict("switch")
