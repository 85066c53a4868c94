"""Everything that crosses the fork, in one place.

A worker starts with exactly this and closes every other descriptor that the master opened. In the single-process mode (``-d``)
the same value is handed over without a fork. Knows what the things are, not what is done with them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from forkproxy.net.loop import Loop
from forkproxy.plan import Bind, Frontend, Plan
from forkproxy.values import field, record
from forkproxy.worker.inbox import Ends

#: Names one listening socket across processes and reloads: (key of the bind, index in its group).
SocketId = tuple[str, int]
#: What a runtime accepts from.
Listener = tuple[Frontend, Bind, socket.socket]


class RuntimeLike(Protocol):
    """What a worker asks of ``proxy.runtime.Runtime``."""

    def attach(self, listeners: list[Listener]) -> None:
        """Accept from these sockets too."""

    def detach(self, sockets: Iterable[socket.socket] | None = None) -> None:
        """Accept no more from these sockets (None: from any); they stay open, their owner closes them."""

    def pause(self) -> None:
        """Accept nothing until :meth:`resume`."""

    def resume(self) -> None:
        """Accept again."""

    def heirs(self, give: Callable[[socket.socket, dict[str, Any]], bool], without: Iterable[str] | None) -> None:
        """``give`` passes idle clients to workers that go on, on all addresses but those with these keys; None: nobody goes on."""

    def adopt(self, sock: socket.socket, note: dict[str, Any]) -> None:
        """Go on with a client that another worker gave; owns ``sock``."""

    def drain(self, spread_s: float | None) -> None:
        """Finish what there is; idle connections go to the heirs, or are closed late and spread over ``spread_s``."""

    def busy(self) -> int:
        """How many streams and client connections are left."""

    def kill_all(self) -> None:
        """End every stream and connection now."""

    def refresh(self) -> None:
        """The state of a server changed."""

    def plan_now(self) -> Plan:
        """The plan as orders have changed it since."""

    def close(self) -> None:
        """Nothing is left to serve: let go of the loop, close what is open."""


@record
class Heritage:
    """What one worker is born with."""

    number: int  # from 1, as in the process title
    generation: int
    plan: Plan
    slot: int  # its slot of the shared segment
    state: Any  # what processes share: .segment .names .rows .servers (master/shared.py)
    pulse: memoryview  # one cell ("q"): the worker writes monotonic milliseconds
    channel: socket.socket  # the worker's end of its control channel
    share: list[SocketId]  # the sockets that it accepts from
    #: Every listening socket of the service, the worker's to close: what it may be told to adopt, and what it hands to a new master
    #: when it is orphaned.
    escrow: dict[SocketId, tuple[Frontend, Bind, socket.socket]] = field(default_factory=dict)
    ledger: Any = None  # where the worker notes which entries of stick tables it holds (state.ledger); None without tables
    history: Any = None  # charts of the statistics page so far (stats.history); None without a page
    inbox: Ends | None = None  # where workers pass idle clients to each other
    handover: socket.socket | None = None  # where a new master asks for the sockets
    successor: int = -1  # eventfd: readable once a new master has taken over
    inline: bool = False  # -d: loop and process are shared with the master

    def memories(self) -> dict[str, int]:
        """The descriptors of stick tables, for a master to come."""
        if not self.plan.tables:
            return {}
        from forkproxy.state.sticktables import memories  # ctypes and more, for those who have tables

        return memories(self.plan.tables)


#: Makes the data plane of one worker.
RuntimeFactory = Callable[[Heritage, Loop], RuntimeLike]
