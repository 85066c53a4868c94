"""Persistence: a client that comes back with the cookie of a server goes to that server, and one without gets a cookie (manual 4.2
"cookie", "persist rdp-cookie", "force-persist", "ignore-persist", "option persist").

A backend that has any of these has a :class:`Persistence`; every stream that enters it gets a :class:`Kept`, which says afterwards what
happened (the last two termination flags, manual 8.5). With ``maxidle`` or ``maxlife`` the cookie is ``server|last|first``: two times in
units of 4 s, each as 30 bits in five characters of base64. In prefix mode it is ``server~`` and the application's own value.
Knows heads, servers and streams; nothing of connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forkproxy.http.cookies import change_cookie, change_set_cookie, find_plain, without_plain
from forkproxy.rules.web import split_values
from forkproxy.wire import rdp

if TYPE_CHECKING:
    from forkproxy import plan as plans
    from forkproxy.http.message import RequestHead, ResponseHead
    from forkproxy.proxy.backend import BackendRt, ServerRt
    from forkproxy.proxy.stream import Stream

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_DIGITS = {letter: number for number, letter in enumerate(_ALPHABET)}
#: How far in the future a cookie's time may lie, seconds: whoever corrects a wrong time zone logs nobody out.
_FUTURE_S = 86400
#: Answers that a cache may keep without being told so (RFC 9110 15.1).
_CACHED = frozenset({200, 203, 204, 206, 300, 301, 404, 405, 410, 414, 501})
_CACHED_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_UNCACHED = frozenset({b"private", b"no-cache", b"no-store", b"max-age=0", b"s-maxage=0"})
_EXPIRED = b"=; Expires=Thu, 01-Jan-1970 00:00:01 GMT; path=/"


def write_time(wall_s: float) -> bytes:
    """Epoch seconds as a cookie tells them."""
    units = int(wall_s) >> 2
    return bytes(_ALPHABET[units >> shift & 63] for shift in (24, 18, 12, 6, 0))


def read_time(text: bytes) -> int:
    """Epoch seconds (a multiple of 4) of the first five characters; 0 when they are none."""
    if len(text) < 5:
        return 0
    units = 0
    for letter in text[:5]:
        digit = _DIGITS.get(letter)
        if digit is None:
            return 0
        units = units << 6 | digit
    return units << 2


class Kept:
    """What persistence knows of one stream. ``server`` is the one that the client must have, None: any; ``asked`` and ``answered`` are
    the flags of request and response; ``last`` and ``first`` the times of the client's cookie, 0 for none."""

    __slots__ = ("answered", "asked", "first", "forced", "ignored", "last", "rule", "server")

    def __init__(self, rule: Persistence) -> None:
        self.rule = rule
        self.server: ServerRt | None = None
        self.asked = self.answered = b"N"
        self.last = self.first = 0
        self.forced = self.ignored = False

    @property
    def letters(self) -> bytes:
        """The third and fourth termination flag."""
        return self.asked + self.answered if self.rule.told else b"--"

    def lost(self) -> None:
        """The stream was sent elsewhere: its server could not be reached."""
        self.server = None
        if self.asked == b"V":
            self.asked = b"D"


class Persistence:
    """How one backend does it. ``BackendRt.settle`` makes it anew; a stream keeps the one with which it entered."""

    __slots__ = (
        "_by_address", "_by_cookie", "_cookie", "_indirect", "_inserts", "_maxidle_s", "_maxlife_s", "_name", "_prefix", "_rdp", "_rules",
        "_use_server", "told",
    )  # fmt: skip

    def __init__(self, backend: BackendRt) -> None:
        plan: plans.Backend = backend.plan
        self._cookie = cookie = plan.cookie
        # what is asked for in every request; b"": there is no cookie
        self._name = b"" if cookie is None else cookie.name
        self._inserts = cookie is not None and cookie.mode == "insert"
        self._prefix = cookie is not None and cookie.mode == "prefix"
        self._maxidle_s = 0 if cookie is None else cookie.maxidle_s
        self._maxlife_s = 0 if cookie is None else cookie.maxlife_s
        self._rules = plan.persist_rules
        self._rdp = plan.rdp_cookie
        self._use_server = backend.use_server
        #: whether logs tell of cookies
        self.told = cookie is not None and bool(cookie.mode or cookie.indirect)
        #: the client's cookie is no business of the servers'
        self._indirect = cookie is not None and cookie.indirect and self._inserts
        self._by_cookie: dict[bytes, list[ServerRt]] = {}
        self._by_address: dict[tuple[str, int], ServerRt] = {}
        for srv in backend.servers:
            value, address = srv.plan.cookie, srv.plan.address
            if value:
                self._by_cookie.setdefault(value, []).append(srv)
            if address.family == "ipv4":
                self._by_address.setdefault((address.host, address.port), srv)

    def enter(self, s: Stream) -> Kept:
        """``s`` entered the backend: the first rule that matches decides whether persistence is forced or ignored."""
        kept = Kept(self)
        for matches, force in self._rules:
            if matches(s):
                kept.forced, kept.ignored = force, not force
                break
        return kept

    def choose(self, s: Stream, kept: Kept) -> ServerRt | None:
        """The server that ``s`` must have, None: any. A request's was looked for by :meth:`request`."""
        if not s.mode_http:
            self._session(s, kept)
        srv = kept.server
        if srv is not None and not srv.backend.takes(s, srv):  # it went down while the stream waited
            kept.lost()
            return None
        return srv

    # -- requests

    def request(self, s: Stream, kept: Kept, head: RequestHead) -> None:
        """All rules have spoken: find the server, and take from the cookies what is ours alone."""
        if self._use_server is not None:
            kept.server = self._use_server(s)
        mine = self._name
        if not mine:
            return
        raw = head.fields_raw
        made = head.added.find(mine) >= 0  # by a rule
        if not made and raw.find(mine) < 0:
            return
        assigned = kept.server is not None
        found = None if made else find_plain(raw, mine)
        if found is not None:  # as browsers write it: 3.3 µs instead of 7.5
            _line, start, stop, _end = found
            value = raw[start:stop]
            left = self._read(s, kept, value, assigned)
            if left is None:
                head.put(without_plain(raw, mine, *found))
            elif left != value:
                head.put(raw[:start] + left + raw[stop:])
            return
        self._look_through(s, kept, head, assigned)

    def _look_through(self, s: Stream, kept: Kept, head: RequestHead, assigned: bool) -> None:
        """Cookies in all lines that have some, however they are written."""

        def change(value: bytes) -> bytes | None:
            return self._read(s, kept, value, assigned)

        head.edit(b"cookie", lambda line: change_cookie(line, self._name, change))

    def _read(self, s: Stream, kept: Kept, value: bytes, assigned: bool) -> bytes | None:
        """Look at one cookie of ours; what shall stand in its place (None: nothing)."""
        prefix = self._prefix
        name, separator, rest = value.partition(b"~" if prefix else b"|")
        if assigned or kept.server is None:
            if not prefix and separator:
                kept.last = read_time(rest)
                kept.first = read_time(rest.partition(b"|")[2])
            self._match(s, kept, name, int(s.clock.wall), assigned)
        if self._indirect:
            return None
        return rest if prefix and separator else value

    def _match(self, s: Stream, kept: Kept, name: bytes, now: int, assigned: bool) -> None:
        """The first server of that name that can be used; the flag tells what came of it."""
        stale = b""
        if self._maxlife_s and kept.first and (now - kept.first > self._maxlife_s or kept.first - now > _FUTURE_S):
            stale = b"O"
        elif self._maxidle_s and kept.last and (now - kept.last > self._maxidle_s or kept.last - now > _FUTURE_S):
            stale = b"E"
        if stale:
            kept.asked = stale
            kept.first = kept.last = 0
            return
        if assigned or kept.ignored:
            kept.asked = b"U"
            return
        for srv in self._by_cookie.get(name, ()):
            kept.asked = b"V" if srv.alive else b"D"
            if srv.backend.takes(s, srv):
                kept.server = srv
                return
        if kept.asked not in (b"D", b"E", b"O"):
            kept.asked = b"I"

    def _session(self, s: Stream, kept: Kept) -> None:
        """A TCP session: "use-server", else the address in the cookie of the Remote Desktop Protocol."""
        if self._use_server is not None:
            kept.server = self._use_server(s)
        if kept.server is not None or kept.ignored or not self._rdp:
            return
        try:
            value = rdp.rdp_cookie(s.client.inbuf, self._rdp)
        except rdp.Incomplete:
            return
        host, _, rest = (value or b"").partition(b".")
        port, dot, _ = rest.partition(b".")
        if not (dot and host.isdigit() and port.isdigit() and int(host) < 1 << 32 and int(port) < 1 << 16):
            return
        address = ".".join(str(byte) for byte in int(host).to_bytes(4, "little"))
        srv = self._by_address.get((address, int.from_bytes(int(port).to_bytes(2, "little"), "big")))
        if srv is not None and srv.backend.takes(s, srv):
            kept.server = srv

    # -- responses

    def response(self, s: Stream, kept: Kept, head: ResponseHead) -> None:
        """Rules of the backend have seen the answer: the server's own cookie of that name, then ours."""
        mine = self._name
        if not mine:
            return
        srv: ServerRt = s.srv
        direct = kept.server is srv
        if head.fields_raw.find(mine) >= 0 or (head.added and head.added.find(mine) >= 0):
            self._answers(kept, head, srv)
        cookie: Any = self._cookie
        if not self._inserts or (cookie.preserve and kept.answered == b"P") or kept.ignored:
            return
        if (direct and not self._outdated(kept, int(s.clock.wall))) or (cookie.postonly and s.req.method != b"POST"):  # type: ignore[union-attr]
            return
        uncached = cookie.nocache and cacheable(s.req.method, head)  # type: ignore[union-attr]
        head.add(b"set-cookie", self._made_for(srv, kept, s.clock.wall))
        if uncached:
            head.add(b"cache-control", b"private")
        kept.answered = b"U" if direct and srv.plan.cookie else b"I"

    def _answers(self, kept: Kept, head: ResponseHead, srv: ServerRt) -> None:
        def change(value: bytes) -> bytes | None:
            return self._answer(kept, srv, kept.server is srv, value)

        head.edit(b"set-cookie", lambda line: change_set_cookie(line, self._name, change))

    def _answer(self, kept: Kept, srv: ServerRt, direct: bool, value: bytes) -> bytes | None:
        """What becomes of a server's own cookie."""
        cookie: Any = self._cookie
        kept.answered = b"P"
        if cookie.preserve:
            return value
        if cookie.mode == "insert" or (direct and cookie.indirect):
            kept.answered = b"D"
            return None
        ident: bytes = srv.plan.cookie
        if ident and cookie.mode:
            kept.answered = b"R"
            return ident if cookie.mode == "rewrite" else ident + b"~" + value
        return value

    def _outdated(self, kept: Kept, now: int) -> bool:
        """Whether the times in the client's cookie have to be written anew: they are old, or there should be more or fewer of them."""
        if (self._maxidle_s or kept.last) and kept.last < now:
            return True
        return bool(self._maxlife_s) != bool(kept.first)

    def _made_for(self, srv: ServerRt, kept: Kept, wall: float) -> bytes:
        """The cookie that brings its client back to ``srv``; for a server without one, the end of any that the client has."""
        cookie: Any = self._cookie
        value = srv.plan.cookie
        if not value:
            return bytes(cookie.name + _EXPIRED + cookie.tail)
        made: bytes = cookie.name + b"=" + value
        if cookie.maxidle_s or cookie.maxlife_s:
            now = write_time(wall + 3)
            made += b"|" + now
            if cookie.maxlife_s:
                made += b"|" + (write_time(kept.first) if kept.first else now)
        return made + b"; path=/" + bytes(cookie.tail)


def leaks(method: bytes, head: ResponseHead) -> bool:
    """Whether caches would store an answer together with a cookie that it sets (manual 4.2 "option checkcache")."""
    if head.get(b"set-cookie") is None or not cacheable(method, head):
        return False
    words = [word for line in head.get_all(b"cache-control") for word in split_values(line.lower())]
    return not any(word.startswith(b'no-cache="set-cookie') for word in words)


def cacheable(method: bytes, head: ResponseHead) -> bool:
    """Whether caches would store an answer: it may be stored, and tells how long it is good or how to find out (RFC 9111 3).

    The last word of Cache-Control on the matter counts."""
    if (head.get(b"pragma") or b"").lower() == b"no-cache":
        return False
    stored = method in _CACHED_METHODS and head.status in _CACHED
    dated = any(head.get(name) is not None for name in (b"expires", b"etag", b"last-modified"))
    for line in head.get_all(b"cache-control"):
        for word in split_values(line.lower()):
            if word == b"public":
                stored = True
            elif word in _UNCACHED:
                stored = False
            elif word.startswith((b"max-age", b"s-maxage")):
                dated = True
    return stored and dated
