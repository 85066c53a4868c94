"""Persistence by stick tables (manual 4.2 "stick on", "stick match", "stick store-request", "stick store-response").

Rules that match are walked when a server is chosen; keys to be stored are made then, too (those of responses when one came), and
kept with the server once a connection to it stands. An entry names a server by its name (or address: ``srvkey``) and by its id, for tables
that several backends share. Knows streams, servers and entries.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from forkproxy.rules.tables import now_ms
from forkproxy.state.stickspec import columns

if TYPE_CHECKING:
    from forkproxy.plan import Server as ServerPlan
    from forkproxy.plan import Stick
    from forkproxy.proxy.backend import BackendRt, ServerRt
    from forkproxy.proxy.stream import Stream

#: the key in ``Stream.marks`` under which what is to be stored waits
_PENDING = "stick"
#: the most that one stream stores, as in HAProxy
_LIMIT = 8


def server_key(server: ServerPlan, srvkey: str) -> int:
    """How an entry names a server, after its name or its address."""
    text = server.name if srvkey == "name" else f"{server.address.host}:{server.address.port}"
    return int.from_bytes(blake2b(text.encode(), digest_size=7).digest(), "big")


class Sticking:
    """The ``stick`` rules of one backend."""

    __slots__ = ("_by_id", "_by_key", "_keys", "_match", "_places", "_response")

    def __init__(self, be: BackendRt) -> None:
        rules = be.plan.stick
        self._match = tuple(rule for rule in rules if not rule.response)
        self._response = tuple(rule for rule in rules if rule.response)
        self._by_id = {srv.plan.id: srv for srv in be.servers}
        #: how entries name each server, by srvkey
        self._keys = {how: {srv: server_key(srv.plan, how) for srv in be.servers} for how in {rule.table.spec.srvkey for rule in rules}}
        self._by_key: dict[str, dict[int, ServerRt]] = {
            how: {key: srv for srv, key in keys.items()} for how, keys in self._keys.items()
        }
        #: of each table: where in an entry the server's id and key stand
        self._places = {
            rule.table: (found["server_id"].offset, found["server_key"].offset)
            for rule in rules
            for found in (columns(rule.table.spec)[0],)
        }

    def choose(self, s: Stream) -> ServerRt | None:
        """The server that an entry has for ``s``; None: the algorithm decides. What is to be stored is noted."""
        chosen: ServerRt | None = None
        pending: list[tuple[Stick, bytes]] = []
        now = now_ms(s)
        for rule in self._match:
            if rule.condition is not None and not rule.condition(s):
                continue
            key = rule.key(s)
            if key is None:
                continue
            if rule.match and chosen is None:
                chosen = self._look(s, rule, key, now)
            if rule.store and len(pending) < _LIMIT:
                pending.append((rule, key))
        if pending:
            if s.marks is None:
                s.marks = {}
            s.marks[_PENDING] = pending
        return chosen if chosen is not s.avoid else None

    def _look(self, s: Stream, rule: Stick, key: bytes, now: int) -> ServerRt | None:
        id_at, key_at = self._places[rule.table]
        found = rule.table.table.change(key, now, lambda cells, base, now: (cells[base + id_at], cells[base + key_at]), make=False)
        if found is None:
            return None
        srv = self._by_key[rule.table.spec.srvkey].get(found[1]) or self._by_id.get(found[0])
        return srv if srv is not None and srv.backend.takes(s, srv) else None

    def store(self, s: Stream) -> None:
        """A connection to ``s.srv`` stands, and in HTTP mode a response came: keep the server in the entries of all keys."""
        srv: Any = s.srv
        pending: list[tuple[Stick, bytes]] = s.marks.pop(_PENDING, []) if s.marks is not None else []
        for rule in self._response:
            if len(pending) < _LIMIT and (rule.condition is None or rule.condition(s)):
                key = rule.key(s)
                if key is not None:
                    pending.append((rule, key))
        if not pending or srv is None or srv.plan.non_stick:
            return
        now = now_ms(s)
        for rule, key in pending:
            id_at, key_at = self._places[rule.table]
            name = self._keys[rule.table.spec.srvkey][srv]

            def write(cells: memoryview, base: int, now: int, id_at: int = id_at, key_at: int = key_at, name: int = name) -> bool:
                cells[base + key_at] = name
                cells[base + id_at] = srv.plan.id
                return True

            rule.table.table.change(key, now, write)
