"""The rise/fall automaton of one server: theory first, then the few lines that carry it out.

Health is an integer from 0 to ``rise + fall - 1``; the server is up from ``rise`` on:

    0 ............ rise-1 | rise ............ rise+fall-1
    fully down  going up  | going down        fully up

A passed check adds one, and once ``rise`` is reached the server is fully up at once; a failed one takes one away, and below ``rise`` it is
fully down at once. So it takes ``rise`` passes in a row to come up and ``fall`` failures in a row to go down, and what lies between
shows as
"DOWN n/rise" and "UP n/fall". A start in the "up" state stands at ``rise``: the very first failure takes the server down, so that
nobody waits for a
dead server (manual 5.2 "rise", "fall", "init-state").

A conditional pass (L7OKC: 404 with ``http-check disable-on-404``) counts as a pass and puts an up server in the stopping state (NOLB:
only persistent
connections); an unconditional one takes it out again. A server that is down stays as it is: 404s neither bring it up nor count for it.

What the operator wants (maintenance, drain) lies over this and is kept apart: :class:`Admin`. Pure: no clock, no I/O, no configuration.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

from forkproxy.health.conversation import Result
from forkproxy.health.status import Status


class State(IntEnum):
    """Operational states; the numbers are those of "show servers state" (management manual, srv_op_state)."""

    STOPPED = 0
    STARTING = 1
    RUNNING = 2
    STOPPING = 3


class Admin(IntFlag):
    """Administrative states; the bits are those of "show servers state" (management manual, srv_admin_state)."""

    NONE = 0
    FORCED_MAINT = 0x01
    INHERITED_MAINT = 0x02
    CONFIG_MAINT = 0x04
    FORCED_DRAIN = 0x08
    INHERITED_DRAIN = 0x10
    RESOLUTION_MAINT = 0x20
    HOSTNAME_MAINT = 0x40

    @property
    def maint(self) -> bool:
        return bool(self & _MAINT)

    @property
    def drain(self) -> bool:
        return bool(self & _DRAIN)


_MAINT = Admin.FORCED_MAINT | Admin.INHERITED_MAINT | Admin.CONFIG_MAINT | Admin.RESOLUTION_MAINT | Admin.HOSTNAME_MAINT
_DRAIN = Admin.FORCED_DRAIN | Admin.INHERITED_DRAIN


class Outcome(IntFlag):
    """What one result changed."""

    NOTHING = 0
    HEALTH = 1  # the health moved
    STATUS = 2  # another check status than last time
    WENT_UP = 4
    WENT_DOWN = 8
    STOPPING = 16  # up, and now only for persistent connections
    RESUMED = 32  # back from stopping
    FAILED = 64  # a failure that counts (``chkfail``)


class Machine:
    """Health of one checked server. ``state`` is what the checks alone say."""

    __slots__ = ("fall", "health", "result", "rise", "state")

    def __init__(self, rise: int, fall: int, initial: str = "up") -> None:
        self.rise = rise
        self.fall = fall
        self.result = Result(Status.INI)
        self.health = 0
        self.state = State.RUNNING
        self.reset(initial)

    @property
    def top(self) -> int:
        return self.rise + self.fall - 1

    def reset(self, initial: str = "up") -> None:
        """Start over: ``initial`` is a word of ``init-state``."""
        self.health = {"fully-up": self.top, "down": self.rise - 1, "fully-down": 0}.get(initial, self.rise)
        self.state = State.RUNNING if self.health >= self.rise else State.STOPPED

    def force(self, up: bool) -> None:
        """What "set server … health" says: fully up or fully down."""
        self.health = self.top if up else 0
        self.state = State.RUNNING if up else State.STOPPED

    def restore(self, health: int, state: State, result: Result) -> None:
        """Take over what another incarnation knew (a reload may have changed rise and fall)."""
        was_up = state is not State.STOPPED
        self.health = min(max(health, self.rise), self.top) if was_up else min(health, self.rise - 1)
        self.state = state
        self.result = result

    def apply(self, result: Result) -> Outcome:
        """Count one result in; returns what changed."""
        outcome = Outcome.NOTHING
        if result.status is not self.result.status:
            outcome |= Outcome.STATUS
        self.result = result
        if not result.status.passed:
            return outcome | self._fail()
        conditional = result.status is Status.L7OKC
        if conditional and self.state is State.STOPPED:
            return outcome  # "a stopped server will stay stopped even if it replies 404s"
        if self.health < self.top:
            outcome |= Outcome.HEALTH
            self.health += 1
            if self.health >= self.rise:
                self.health = self.top
        if self.health < self.rise:
            return outcome
        if self.state is State.STOPPED:
            self.state = State.RUNNING
            outcome |= Outcome.WENT_UP
        elif conditional and self.state is not State.STOPPING:
            self.state = State.STOPPING
            outcome |= Outcome.STOPPING
        elif not conditional and self.state is State.STOPPING:
            self.state = State.RUNNING
            outcome |= Outcome.RESUMED
        return outcome

    def _fail(self) -> Outcome:
        if self.health == 0:
            return Outcome.NOTHING
        outcome = Outcome.HEALTH
        self.health -= 1
        if self.state is not State.STOPPED:
            outcome |= Outcome.FAILED
        if self.health < self.rise:
            self.health = 0
            if self.state is not State.STOPPED:
                self.state = State.STOPPED
                outcome |= Outcome.WENT_DOWN
        return outcome

    @property
    def transitional(self) -> bool:
        """Between fully up and fully down, or never checked: the time for ``fastinter``."""
        return self.result.status is Status.INI or 0 < self.health < self.top


def delay_s(machine: Machine, inter_s: float, fastinter_s: float | None, downinter_s: float | None) -> float:
    """The time until the next check in the machine's state (manual 5.2 "inter": the table of states)."""
    if machine.transitional:
        return fastinter_s if fastinter_s is not None else inter_s
    if machine.health == 0:
        return downinter_s if downinter_s is not None else inter_s
    return inter_s


def status_text(
    state: State, admin: Admin, health: int, rise: int, fall: int, *, checked: bool = True, via: str = "", agent: int | None = None
) -> str:
    """The ``status`` column of a server (management manual 9.1): "UP", "UP 1/3", "DOWN 1/2", "NOLB", "DRAIN", "MAINT (via b/s)", "no
    check" …

    ``checked``: it has checks of its own or tracks a server that has; ``via`` the tracked server where the maintenance is inherited;
    ``agent`` is its agent's health, None without one.
    """
    if admin.maint:
        if admin & Admin.INHERITED_MAINT and not admin & (Admin.FORCED_MAINT | Admin.CONFIG_MAINT):
            return f"MAINT (via {via})" if via else "MAINT"
        return "MAINT (resolution)" if admin & (Admin.RESOLUTION_MAINT | Admin.HOSTNAME_MAINT) else "MAINT"
    if state is State.STOPPED:
        if agent == 0:
            return "DOWN (agent)"
        return f"DOWN {health}/{rise}" if checked and health else "DOWN"
    if admin.drain and agent is not None:
        return "DRAIN (agent)"
    word = "DRAIN" if admin.drain else "NOLB" if state is State.STOPPING else "UP"
    if not checked:
        return word if word != "UP" else "no check"
    return f"{word} {health - rise + 1}/{fall}" if health < rise + fall - 1 else word
