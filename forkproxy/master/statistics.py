"""The master's statistics: the context that its endpoint and its CLI show, and the sockets of ``stats-endpoint``.

Knows the room stats/, the runner of checks and the endpoint; the master makes one, tells it of a new plan and what only the master
counts, and stops it.
Sockets that the old and the new plan both have are kept.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Protocol

from forkproxy.master.endpoint import Endpoint
from forkproxy.master.health_runner import Runner
from forkproxy.net import sockets as net_sockets
from forkproxy.net.loop import Loop, Timer
from forkproxy.plan import Address, Plan
from forkproxy.state.counters import Rows
from forkproxy.state.servers import ServerTable
from forkproxy.stats.context import Context
from forkproxy.stats.info import Facts, facts_of
from forkproxy.stats.model import Extras
from forkproxy.stats.query import Query

#: Peaks that several workers make together are noted in slices of rows, so that a thousand take about a second and no turn is long.
_OBSERVE_S = 0.1
_OBSERVE_ROWS = 100


class StateLike(Protocol):
    """What is shared (``master.shared.State``)."""

    rows: Rows
    servers: ServerTable


class Statistics:
    """:attr:`context` is for the CLI; :meth:`open` starts the endpoint.

    ``reloads``, ``failed_reloads``, ``restarts`` and ``stopping`` are the master's to write. ``started``: epoch of the start.
    """

    __slots__ = (
        "_endpoint", "_loop", "_observed", "_plan", "_runner", "_sockets", "_started", "_state", "_timer",
        "context", "failed_reloads", "reloads", "restarts", "stopping",
    )  # fmt: skip

    def __init__(self, plan: Plan, loop: Loop, state: StateLike, runner: Runner, started: float) -> None:
        self._plan = plan
        self._loop = loop
        self._state = state
        self._runner = runner
        self._started = started
        self._sockets: dict[Address, socket.socket] = {}
        self._endpoint: Endpoint | None = None
        self._observed: Iterator[str] = iter(())
        self.reloads = self.failed_reloads = self.restarts = 0
        self.stopping = False
        self.context = self._context()
        self._timer: Timer = loop.call_later(_OBSERVE_S, self._observe)

    def open(self, plan: Plan) -> None:
        """Show ``plan`` from now on (the first one, or after a reload), at its ``stats-endpoint`` addresses.

        Raises ``net.sockets.BindError`` when a new address cannot be bound, and then nothing has changed.
        """
        wanted = {bind.address: bind for bind in plan.global_.stats_endpoint}
        fresh: dict[Address, socket.socket] = {}
        try:
            for address, bind in wanted.items():
                if address not in self._sockets:
                    fresh[address] = net_sockets.listen(bind, reuseport=False)
        except OSError:
            for sock in fresh.values():
                sock.close()
            raise
        self._plan = plan
        self.context = self._context()
        kept = self._sockets.keys() & wanted.keys()
        if fresh or len(kept) != len(self._sockets):
            self._close_endpoint()
            for address in self._sockets.keys() - kept:
                self._sockets.pop(address).close()
            self._sockets.update(fresh)
        if self._endpoint is None and self._sockets:
            self._endpoint = Endpoint(self._loop, self._sockets.values(), self._render, self._healthy)

    def stop(self) -> None:
        """Close everything."""
        self._timer.cancel()
        self._close_endpoint()
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    def sockets(self) -> list[socket.socket]:
        """The listening sockets: a forked worker closes them."""
        return list(self._sockets.values())

    def _close_endpoint(self) -> None:
        if self._endpoint is not None:
            self._endpoint.stop()
            self._endpoint = None

    def _render(self, query: Query) -> Iterator[str]:
        return self.context.render(query)

    def _healthy(self) -> bool:
        return not self.stopping

    def _observe(self) -> None:
        rows = self._state.rows
        names = [name for _, name in zip(range(_OBSERVE_ROWS), self._observed, strict=False)]
        if len(names) < _OBSERVE_ROWS:
            self._observed = iter(list(rows.names))
        rows.observe([name for name in names if name in rows.names])
        self._timer = self._loop.call_later(_OBSERVE_S, self._observe)

    def _context(self) -> Context:
        extras = Extras(texts=self._runner.board.texts, checking=self._runner.checking)
        return Context(self._plan, self._state.rows, self._state.servers, self._facts, extras, lambda: self.restarts)

    def _facts(self) -> Facts:
        facts = facts_of(self._plan, self._state.rows, self._started)
        facts.reloads, facts.failed_reloads, facts.stopping = self.reloads, self.failed_reloads, self.stopping
        return facts
