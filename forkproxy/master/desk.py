"""What the master itself listens on: CLI sockets (``stats socket``, ``-S``) and the metrics endpoint. Kept over reloads like the
service's own sockets: what both files name stays open with its queue, new ones are bound before anything changes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from forkproxy.master.listeners import ListenError
from forkproxy.net.listening import listen
from forkproxy.net.loop import Loop
from forkproxy.plan import Bind, Plan
from forkproxy.registry import gather

if TYPE_CHECKING:
    from forkproxy.master.cli_server import CliServer
    from forkproxy.master.endpoint import Endpoint
    from forkproxy.master.master import Master
    from forkproxy.stats.context import Context
    from forkproxy.stats.query import Query


class Desk:
    """:meth:`prepare` binds what a plan needs beside what there is, then :meth:`commit` serves it or :meth:`undo` forgets it."""

    __slots__ = ("_cli", "_endpoint", "_healthy", "_loop", "_master", "_new", "_sockets", "context")

    def __init__(self, loop: Loop, master: Master, healthy: Callable[[], bool]) -> None:
        self._loop = loop
        self._master = master
        self._healthy = healthy
        self._sockets: dict[str, socket.socket] = {}
        self._new: dict[str, socket.socket] = {}
        self._cli: CliServer | None = None
        self._endpoint: Endpoint | None = None
        self.context: Context | None = None

    def prepare(self, plan: Plan) -> None:
        """Bind what is missing, before workers are forked. Raises ListenError, and then nothing has changed."""
        settings = plan.global_
        self._new = {}
        if settings.stats_sockets or settings.master_sockets:
            gather("forkproxy.master.commands")
            gather("forkproxy.proxy.orders")  # what commands ask of workers, which cannot load anything any more
        for what, binds in (
            ("GLOBAL", settings.stats_sockets),
            ("MASTER", settings.master_sockets),
            ("stats-endpoint", settings.stats_endpoint),
        ):
            for bind in binds:
                key = bind.key
                if key in self._sockets or key in self._new:
                    continue
                try:
                    self._new[key] = listen(bind, reuseport=bind.address.family in ("ipv4", "ipv6"))
                except OSError as exc:
                    self.undo()
                    raise ListenError(f"Starting frontend {what}: {exc}") from exc

    def undo(self) -> None:
        """Close what :meth:`prepare` bound."""
        for sock in self._new.values():
            sock.close()
        self._new = {}

    def commit(self, plan: Plan, make_context: Callable[[Plan], Context]) -> None:
        """Serve what ``plan`` names from now on, showing ``make_context(plan)``; sessions go on. What only sockets need is loaded with
        the first of them."""
        settings = plan.global_
        self._sockets.update(self._new)
        self._new = {}
        old_cli, old_endpoint = self._cli, self._endpoint
        if old_cli is not None:
            old_cli.stop(clients=False)
        if old_endpoint is not None:
            old_endpoint.stop()
        self._cli, self._endpoint = None, None
        listeners: list[tuple[Bind, socket.socket, bool]] = [(b, self._sockets[b.key], False) for b in settings.stats_sockets]
        listeners += [(b, self._sockets[b.key], True) for b in settings.master_sockets]
        if listeners or settings.stats_endpoint or old_cli is not None:
            self.context = make_context(plan)
        if listeners or old_cli is not None:
            from forkproxy.master.cli_server import CliServer

            self._cli = CliServer(self._loop, self._master, listeners, timeout_s=settings.stats_timeout_s, maxconn=settings.stats_maxconn)
            if old_cli is not None:
                self._cli.adopt(old_cli)
        if settings.stats_endpoint:
            from forkproxy.master.endpoint import Endpoint

            self._endpoint = Endpoint(
                self._loop, [self._sockets[b.key] for b in settings.stats_endpoint], self._render, self._healthy
            )
        used = {b.key for b in (*settings.stats_sockets, *settings.master_sockets, *settings.stats_endpoint)}
        for key in self._sockets.keys() - used:
            self._sockets.pop(key).close()

    def show(self, context: Context) -> None:
        """Show ``context`` from now on, if there is anybody who can ask."""
        if self.context is not None:
            self.context = context

    def _render(self, query: Query) -> Iterator[str]:
        assert self.context is not None
        return self.context.render(query)

    def close(self) -> None:
        """Close everything."""
        if self._cli is not None:
            self._cli.stop()
        if self._endpoint is not None:
            self._endpoint.stop()
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
