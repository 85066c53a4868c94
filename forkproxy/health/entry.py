"""What is known of one server: its entry on the board, and how the layers of its state are put together.

The effective state follows from three layers: the checks (``machine``; of a server without checks always up) and the agent's word, what it
tracks (``track``: it repeats the state of another server, which may itself track), and the operator (maintenance and drain; inherited
by those who track). No I/O, no clock; ``board.py`` changes entries and tells the others.
"""

from __future__ import annotations

from forkproxy.health.conversation import Result
from forkproxy.health.machine import Admin, Machine, State, status_text
from forkproxy.health.status import Status
from forkproxy.plan import Backend, SavedState, Server
from forkproxy.state.servers import SCALE

_HASHING = frozenset({"source", "uri", "url_param", "hdr", "rdp-cookie", "hash"})


class Group:
    """A backend and how many of its servers take new clients."""

    __slots__ = ("active", "backend", "backups", "entries", "fixed")

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.entries: list[Entry] = []
        #: weights cannot be changed while running, except to and from nothing
        self.fixed = backend.balance.algorithm == "static-rr" or (
            backend.balance.algorithm in _HASHING and backend.balance.hash_method != "consistent"
        )
        self.active = 0
        self.backups = 0


class Entry:
    """One server. ``op`` is the published state; ``since`` the epoch of its last change; ``root`` the entry it tracks."""

    __slots__ = (
        "admin", "agent", "followers", "group", "machine", "op", "root", "said", "server", "since", "slow_since", "throttle",
        "usable", "uweight",
    )  # fmt: skip

    def __init__(self, server: Server, group: Group, now: float) -> None:
        self.server = server
        self.group = group
        self.machine = Machine(server.check.rise, server.check.fall, server.init_state) if server.check is not None else None
        self.agent = Machine(1, 1) if server.agent is not None else None
        self.root: Entry | None = None
        self.followers: list[Entry] = []
        self.admin = Admin.CONFIG_MAINT if server.disabled else Admin.NONE
        self.op = State.RUNNING
        self.said = State.RUNNING  # what the operator says of its health, where nobody checks it
        self.uweight = server.weight
        self.throttle = 0  # percent while starting slowly, else 0
        self.slow_since = 0.0  # monotonic
        self.since = now
        self.usable = False

    @property
    def key(self) -> str:
        return self.server.key

    def source(self) -> Entry:
        """The entry at the end of the tracking chain, itself when it tracks nothing."""
        entry = self
        while entry.root is not None:
            entry = entry.root
        return entry

    def wanted(self) -> State:
        """The state that checks, tracking and maintenance give."""
        if self.admin.maint:
            return State.STOPPED
        source = self.source()
        if source.agent is not None and not source.agent.health:
            return State.STOPPED
        return source.machine.state if source.machine is not None else source.said

    def effective(self) -> int:
        """The weight in 1/SCALE; a slow start shows only a part of it, but never nothing of something."""
        full = self.uweight * SCALE
        return max(1, full * self.throttle // 100) if self.throttle and full else full

    def status(self) -> str:
        """As in the statistics."""
        source = self.source()
        machine = source.machine
        agent = source.agent.health if source.agent is not None else None
        via = self.root.key if self.root is not None else ""
        if machine is None:
            return status_text(self.op, self.admin, 1, 1, 1, checked=False, via=via, agent=agent)
        return status_text(self.op, self.admin, machine.health, machine.rise, machine.fall, via=via, agent=agent)


def starting(entry: Entry, wanted: State) -> State:
    """A server in a slow start stays in it while all else says "running"."""
    return State.STARTING if wanted is State.RUNNING and entry.throttle else wanted


def inherited(entry: Entry) -> Admin:
    """The administrative state with what the tracked server hands on."""
    admin = entry.admin & ~(Admin.INHERITED_MAINT | Admin.INHERITED_DRAIN)
    if entry.root is not None:
        if entry.root.admin.maint:
            admin |= Admin.INHERITED_MAINT
        elif entry.root.admin.drain:
            admin |= Admin.INHERITED_DRAIN
    return admin


def carry(old: Entry, new: Entry) -> None:
    """What a reload keeps of a server: health, the operator's wishes that the file does not speak of, times."""
    new.since, new.said = old.since, old.said
    new.admin |= old.admin & (Admin.FORCED_MAINT | Admin.FORCED_DRAIN)
    if old.server.disabled and not old.admin & Admin.CONFIG_MAINT:
        new.admin &= ~Admin.CONFIG_MAINT  # somebody enabled it, and the file says nothing new
    if new.machine is not None and old.machine is not None:
        new.machine.restore(old.machine.health, old.machine.state, old.machine.result)
    if new.agent is not None and old.agent is not None:
        new.agent.restore(old.agent.health, old.agent.state, old.agent.result)
    if new.server.weight == old.server.weight:
        new.uweight = old.uweight
    if new.server.slowstart_s > 0:
        new.throttle, new.slow_since = old.throttle, old.slow_since


def recall(entry: Entry, saved: SavedState, wall: float, now: float) -> None:
    """Begin as a state file tells, which an earlier process wrote: what the configuration changed since then has precedence, that is a
    ``disabled`` that came or went, and another weight. A server that is not checked any more is up."""
    machine, server = entry.machine, entry.server
    entry.since = wall - saved.age_s
    if machine is not None:
        try:
            result = Result(Status(saved.check_status))
        except ValueError:
            result = Result(Status.INI)
        state = State(saved.op)
        if state is State.STARTING and server.slowstart_s > saved.age_s:
            entry.throttle, entry.slow_since = 1, now - saved.age_s
        top = machine.top if state is State.RUNNING else machine.rise
        machine.restore(0 if state is State.STOPPED else top, State.RUNNING if state is State.STARTING else state, result)
    disabled = bool(entry.admin & Admin.CONFIG_MAINT)
    if disabled == bool(saved.admin & Admin.CONFIG_MAINT):
        forced = bool(saved.admin & Admin.FORCED_MAINT)
        if forced and not disabled:
            entry.admin |= Admin.FORCED_MAINT
        elif disabled and not forced:
            entry.admin &= ~Admin.CONFIG_MAINT  # somebody enabled it
    if not entry.admin.maint and saved.admin & Admin.FORCED_DRAIN and (saved.iweight or not server.weight):
        entry.admin |= Admin.FORCED_DRAIN
    if saved.iweight == server.weight:
        entry.uweight = saved.uweight
