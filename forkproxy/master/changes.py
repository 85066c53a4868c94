"""What the operator changes at run time of what a file said: the master's own plan follows, so that workers which are forked later begin
with the change and statistics show it. Living workers are told by an order (``master/orders.py``). A reload begins with the file again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forkproxy.plan import Backend, Frontend, Plan
from forkproxy.values import replace

if TYPE_CHECKING:
    from forkproxy.health.entry import Entry
    from forkproxy.master.listeners import Rack
    from forkproxy.master.master import Master


class Changes:
    """All changes go through here; ``plan`` of the master is then the changed one."""

    __slots__ = ("_master",)

    def __init__(self, master: Master) -> None:
        self._master = master

    def end(self) -> None:
        """A plan out of a file takes over: what was paused is not any more."""
        for frontend in self._master.plan.frontends:
            if frontend.held == "PAUSED":
                self.resume(frontend.name)

    def plan(self, plan: Plan) -> None:
        """Go on with ``plan``, which differs from the one in force by the operator's wish."""
        master = self._master
        if master.checked is master.plan:
            master.checked = plan
        master.plan = plan
        master.shared.limit(plan)
        if master.supervisor.current is not None:
            master.supervisor.current.plan = plan
        master.desk.show(master.context(plan))

    def frontend(self, frontend: Frontend, **changes: Any) -> None:
        """Other fields of one frontend."""
        plan = self._master.plan
        self.plan(replace(plan, frontends=tuple([replace(f, **changes) if f.name == frontend.name else f for f in plan.frontends])))

    def backend(self, backend: Backend, **changes: Any) -> None:
        """Other fields of one backend."""
        plan = self._master.plan
        self.plan(replace(plan, backends={**plan.backends, backend.name: replace(backend, **changes)}))

    def server(self, entry: Entry, **changes: Any) -> None:
        """Other fields of one server; its checks follow."""
        server = replace(entry.server, **changes)
        backend = self._master.plan.backends[server.backend]
        self._master.health.amend(server)
        self.backend(backend, servers=tuple([server if one.name == server.name else one for one in backend.servers]))

    def settings(self, **changes: Any) -> None:
        """Other fields of the ``global`` section."""
        plan = self._master.plan
        self.plan(replace(plan, global_=replace(plan.global_, **changes)))

    # -- listening sockets of one frontend

    @property
    def _rack(self) -> Rack:
        current = self._master.supervisor.current
        assert current is not None
        return current.rack

    def pause(self, frontend: str) -> None:
        """Refuse connections; no worker accepts there any more."""
        self._rack.pause(frontend)

    def resume(self, frontend: str) -> None:
        """Listen again, unless the whole service pauses."""
        if not self._master.supervisor.paused:
            self._rack.resume(frontend)

    def close(self, frontend: str) -> None:
        """Let go of its addresses for good, in the master and in every worker."""
        names = self._rack.remove(frontend)
        self._master.supervisor.broadcast("release", sockets=names, forget=True)
