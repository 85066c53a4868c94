"""The anonymized mode of the runtime CLI (management manual 9.3 "set anon"): answers that may be shown to strangers.

Names of proxies, servers and whatever else the configuration calls by name, and addresses, become hashes of 24 bits, the same name always
the same one, so that relations stay visible. It is done to the text of the answer, so that no command can forget it; lines that begin with
``#`` are headings, but for those of stick tables, which name them. What messages themselves contain (``show errors``) is not looked into.
Knows the plan.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator

from forkproxy.plan import Plan, Ring

#: The largest key.
MOST = 0xFFFFFFFF
_HEADING = re.compile("#(?! table:)").match
_TOKEN = re.compile(
    r"(?P<uri>(?<= uri=)\S+)"
    r"|(?P<address>\d{1,3}(?:\.\d{1,3}){3}(?![\w.])|\[[\da-fA-F:.]+\]|(?<![\w:])(?:[\da-fA-F]{0,4}:){3,7}[\da-fA-F]{1,4}(?![\w:]))"
    r"|(?P<name>[\w.\-/@:]*[\w.\-])"
)


class Anonymizer:
    """Hides with ``key`` (1 to 2³²-1) what the plan names that ``plan()`` gives: it is another one after every change."""

    __slots__ = ("_hashes", "_plan", "_seen", "key")

    def __init__(self, key: int, plan: Callable[[], Plan]) -> None:
        self.key = key
        self._plan = plan
        self._seen: Plan | None = None
        self._hashes: dict[str, str] = {}

    def hash(self, text: str) -> str:
        """Six hexadecimal digits for a text."""
        return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=3, key=self.key.to_bytes(4, "big")).hexdigest()

    def hide(self, text: str) -> str:
        """``text`` without the names."""
        plan = self._plan()
        if plan is not self._seen:
            self._seen = plan
            self._hashes = {name: self.hash(name) for name in _names(plan) if name and not name.isdecimal()}
        return "".join(line if _HEADING(line) else _TOKEN.sub(self._token, line) for line in text.splitlines(keepends=True))

    def _token(self, found: re.Match[str]) -> str:
        whole = found[0]
        if found["name"] is None:
            return self.hash(whole)
        return self._known(whole, "@/:")

    def _known(self, text: str, separators: str) -> str:
        """``text``, or what is known of its parts, as large ones as possible."""
        if text in self._hashes or not separators:
            return self._hashes.get(text, text)
        first, rest = separators[0], separators[1:]
        return first.join([self._known(part, rest) for part in text.split(first)])


def _names(plan: Plan) -> Iterator[str]:
    settings = plan.global_
    yield from (settings.node, settings.description)
    yield from plan.tables
    for frontend in plan.frontends:
        yield from (frontend.name, frontend.description)
        for bind in frontend.binds:
            yield from (bind.name, bind.address.host)
    for backend in plan.backends.values():
        yield from (backend.name, backend.description)
        for server in backend.servers:
            yield from (server.name, server.address.host, server.cookie.decode("latin-1"))
    for bind in (*settings.stats_sockets, *settings.master_sockets):
        yield bind.address.host
    for ring in plan.objects.values():
        if isinstance(ring, Ring):
            yield from (ring.name, ring.description)
    for file in plan.objects["patterns"].lists:
        yield file.name
