"""The board: what is known of every server, put together from checks, the operator's wishes and tracking, and written for the workers
to read.

One :class:`Entry` per server of the plan (``entry.py``: how the layers of its state are put together). After every change the entry is
published to ``state.servers.ServerTable``, those who track it follow, its backend is counted anew, and the log is told in HAProxy's
words.

The master owns the only board. It does no I/O and sets no timer: the runner tells it results and asks it to step slow starts.
"""

from __future__ import annotations

from collections.abc import Callable

from forkproxy.clock import Clock
from forkproxy.health import reports
from forkproxy.health.amounts import parse_maxconn, parse_weight
from forkproxy.health.conversation import Orders, Result
from forkproxy.health.entry import Entry, Group, carry, inherited, recall, starting
from forkproxy.health.machine import Admin, Outcome, State
from forkproxy.health.status import Status
from forkproxy.plan import Backend, Plan, Server
from forkproxy.state.names import backend_key
from forkproxy.state.servers import AGENT_TEXT, CHECK_TEXT, SCALE, ServerTable

#: ``log(backend, level, text)``: one line for the log targets of a backend.
Log = Callable[[Backend, int, str], object]
#: ``changed(entry, before)``: the operational state of a server is another one than ``before``.
Changed = Callable[[Entry, State], object]
#: ``limit(entry, maxconn)``: an agent wants another limit for a server.
Limit = Callable[[Entry, int], object]


class Board:
    """All entries by ``backend/server``. ``log`` and ``changed`` are called after the table was written."""

    __slots__ = ("_changed", "_clock", "_limit", "_log", "_table", "entries", "groups", "slow")

    def __init__(
        self, table: ServerTable, clock: Clock, log: Log, changed: Changed | None = None, limit: Limit | None = None
    ) -> None:
        self._table = table
        self._clock = clock
        self._log = log
        self._changed = changed
        self._limit = limit
        self.entries: dict[str, Entry] = {}
        self.groups: dict[str, Group] = {}
        #: Entries in a slow start: :meth:`step` must be called every now and then while there are any.
        self.slow: set[Entry] = set()

    # -- the plan

    def replace(self, plan: Plan) -> None:
        """Make the board that of ``plan``. What is known of a server with the same key is kept; the rows must exist in the table.

        Before the first plan the table itself is asked: a segment taken over from another master knows the states.
        """
        now = self._clock.wall
        old, self.entries, self.groups, self.slow = self.entries, {}, {}, set()
        for backend in plan.backends.values():
            group = self.groups[backend.name] = Group(backend)
            for server in backend.servers:
                entry = Entry(server, group, now)
                self.entries[server.key] = entry
                group.entries.append(entry)
                if server.key in old:
                    carry(old[server.key], entry)
                elif not self._restore(entry) and server.saved is not None:
                    recall(entry, server.saved, now, self._clock.now)
        for entry in self.entries.values():
            self._track(entry)
        for entry in self.entries.values():
            if entry.root is None:
                entry.op = starting(entry, entry.wanted())
                self._publish(entry, first=True)
        for group in self.groups.values():
            self._table.set(backend_key(group.backend.name), last_change=self._group_since(group, now))
        self.slow = {entry for entry in self.entries.values() if entry.throttle}
        self._table.bump()

    def _group_since(self, group: Group, now: float) -> int:
        return self._table.read(backend_key(group.backend.name), "last_change") or int(now)

    def _track(self, entry: Entry) -> None:
        root = self.entries.get(entry.server.track) if entry.server.track else None
        seen = root
        while seen is not None and seen is not entry:
            seen = self.entries.get(seen.server.track) if seen.server.track else None
        if root is not None and seen is None:  # a ring would have no end; config refuses it
            entry.root = root
            root.followers.append(entry)

    def _restore(self, entry: Entry) -> bool:
        """From a table that an earlier master wrote; a fresh one is all zero, and then False."""
        table, key = self._table, entry.key
        since = table.read(key, "last_change")
        if not since:
            return False
        state = table.get(key)
        entry.since = float(since)
        entry.admin |= Admin(state.admin) & ~Admin.CONFIG_MAINT
        if table.read(key, "srv_disabled") and not state.admin & Admin.CONFIG_MAINT:
            entry.admin &= ~Admin.CONFIG_MAINT  # somebody enabled it
        entry.uweight = state.uweight
        if entry.machine is not None:
            entry.machine.result = Result(Status(table.read(key, "check_status")), table.read(key, "check_code"))
        if entry.machine is not None and not entry.admin.maint:
            of_agent = entry.agent is not None and not table.read(key, "agent_health") and state.health >= entry.machine.rise
            entry.machine.restore(state.health, State.RUNNING if of_agent else State(state.op), entry.machine.result)
        if entry.machine is None and not entry.admin.maint and state.op in (State.STOPPED, State.STOPPING):
            entry.said = State(state.op)
        if entry.agent is not None:
            up = bool(table.read(key, "agent_health"))
            entry.said = entry.said if up else State.RUNNING  # it was the agent that stopped it
            entry.agent.restore(int(up), State.RUNNING if up else State.STOPPED, Result(Status(table.read(key, "agent_status"))))
        return True

    def found(self, backend: Backend) -> None:
        """One more backend, without servers."""
        self.groups[backend.name] = Group(backend)

    def lost(self, backend: str) -> None:
        """A backend without servers is gone."""
        del self.groups[backend]

    def add(self, server: Server) -> Entry:
        """A server that no file names, in maintenance until somebody enables it. Its row must exist."""
        group = self.groups[server.backend]
        entry = Entry(server, group, self._clock.wall)
        entry.admin |= Admin.FORCED_MAINT
        self.entries[server.key] = entry
        group.entries.append(entry)
        self._track(entry)
        if entry.root is not None:
            entry.admin = inherited(entry)
        entry.op = entry.wanted()
        self._publish(entry, first=True)
        self._table.bump()
        return entry

    def remove(self, key: str) -> None:
        """Forget a server that is in maintenance and that nobody tracks."""
        entry = self.entries.pop(key)
        entry.group.entries.remove(entry)
        self.slow.discard(entry)
        if entry.root is not None:
            entry.root.followers.remove(entry)

    def unchecked(self, key: str) -> None:
        """Its checks are suspended: it counts as up until they go on."""
        entry = self.entries[key]
        if entry.machine is not None and not entry.admin.maint:
            entry.machine.force(True)
            self._move(entry, ", health checks disabled")
            self._publish(entry)

    # -- checks

    def result(self, entry: Entry, result: Result, duration_ms: int | None) -> Outcome:
        """A check has ended; ``duration_ms`` is None for what looks like one."""
        machine = entry.machine
        if machine is None or entry.admin.maint:
            return Outcome.NOTHING
        outcome = machine.apply(result)
        key, table = entry.key, self._table
        table.say(key, CHECK_TEXT, reports.printable(result.text))
        table.set(
            key, srv_health=machine.health, check_status=int(result.status), check_code=result.code, check_duration_ms=duration_ms or 0
        )
        if outcome & Outcome.FAILED:
            table.add(key, "chk_fail")
        check = entry.server.check
        why = reports.reason(result, duration_ms)
        if check is not None and check.log_checks:
            if outcome & (Outcome.HEALTH | Outcome.STATUS):
                line = reports.check_line(key, entry.server.backup, machine, duration_ms)
                self._log(entry.group.backend, reports.NOTICE, line)
            why = ""  # it has just been said
        self._settle(entry, why, outcome)
        return outcome

    def _settle(self, entry: Entry, why: str, outcome: Outcome) -> None:
        if starting(entry, entry.wanted()) is not entry.op:
            self._move(entry, why)
        elif outcome & Outcome.HEALTH:
            self._publish_followers(entry)

    def agent(self, entry: Entry, result: Result, duration_ms: int) -> Outcome:
        """An agent check has ended. Only its words change anything: an agent that cannot be asked is no reason to stop a server."""
        machine = entry.agent
        if machine is None:
            return Outcome.NOTHING
        problem = self._obey(entry, result.orders) if result.orders is not None else ""
        if result.status in (Status.L7OK, Status.L7STS):
            outcome = machine.apply(result)
        else:
            outcome = Outcome.STATUS if result.status is not machine.result.status else Outcome.NOTHING
            machine.result = result
        text = f"agent warns : {problem}" if problem and not result.text else result.text
        self._table.say(entry.key, AGENT_TEXT, reports.printable(text))
        self._table.set(
            entry.key, agent_health=machine.health, agent_status=int(result.status), agent_code=result.code, agent_duration_ms=duration_ms
        )
        why = reports.reason(result, duration_ms)
        logs = entry.server.agent is not None and entry.server.agent.log_checks
        if logs and outcome & (Outcome.HEALTH | Outcome.STATUS) and result.status is not Status.CHECKED:
            line = reports.check_line(entry.key, entry.server.backup, machine, duration_ms, "Agent")
            self._log(entry.group.backend, reports.NOTICE, line)
            why = ""
        if not entry.admin.maint:
            self._settle(entry, why, outcome)
        return outcome

    def observed(self, entry: Entry, errors: int, why: str) -> None:
        """Live traffic saw ``errors`` errors in a row, the last one ``why``: what ``on-error`` says (manual 5.2)."""
        machine = entry.machine
        if machine is None or entry.admin.maint:
            return
        self._table.add(entry.key, "failed_hana")
        action = entry.server.on_error
        if action == "fastinter":
            return
        if action == "sudden-death":
            machine.health = min(machine.health, machine.rise + 1)
        elif action == "mark-down":
            machine.health = min(machine.health, machine.rise)
        self.result(entry, Result(Status.HANA, 0, f"Detected {errors} consecutive errors, last one was: {why}"), None)

    def set_agent(self, key: str, up: bool) -> None:
        """"set server … agent": as if the agent had said it. Raises KeyError, ValueError for a server without an agent."""
        entry = self.entries[key]
        if entry.agent is None:
            raise ValueError("agent checks are not enabled on this server.")
        entry.agent.force(up)
        if not entry.admin.maint:
            self._move(entry, ", changed from CLI")
        self._publish(entry)

    def _obey(self, entry: Entry, orders: Orders) -> str:
        """Carry out what an agent wants; what of it cannot be done is returned, or ""."""
        if orders.wish:
            self.set_state(entry.key, orders.wish)
        problem = ""
        for change, wanted in ((self.change_weight, orders.weight), (self._change_limit, orders.maxconn)):
            if wanted is not None:
                try:
                    change(entry.key, wanted)
                except ValueError as exc:
                    problem = problem or str(exc)
        return problem

    def _publish_followers(self, entry: Entry) -> None:
        """Their statuses show the health of whom they track."""
        for follower in entry.followers:
            self._publish(follower)
            self._publish_followers(follower)

    def _move(self, entry: Entry, why: str, via: str = "") -> None:
        """The entry takes the state that its layers now give; those who track it follow."""
        before = entry.op
        after = starting(entry, entry.wanted())
        if after is before:
            return
        group = entry.group
        had = group.active + group.backups
        entry.op = after
        self._stamp(entry, before)
        if before is State.STOPPED and entry.server.slowstart_s > 0:
            entry.op = State.STARTING
            entry.throttle, entry.slow_since = 1, self._clock.now
            self.slow.add(entry)
        elif after is not State.STARTING:
            self._end_slow(entry)
        self._publish(entry)
        load = self._load(entry, after is State.STOPPED)
        line = reports.change_line(entry.key, entry.server.backup, after, why, group.active, group.backups, load, via)
        level = reports.ALERT if after is State.STOPPED and before is not State.STOPPING else reports.NOTICE
        self._log(group.backend, level, line)
        self._nobody_left(group, had)
        if self._changed is not None:
            self._changed(entry, before)
        for follower in entry.followers:
            if not follower.admin.maint:
                self._move(follower, "", via=entry.key)

    def _stamp(self, entry: Entry, before: State) -> None:
        """Times and counters of a change of state."""
        now = self._clock.wall
        if before is State.STOPPED:
            self._table.add(entry.key, "downtime_s", max(0, int(now) - int(entry.since)))
        elif entry.op is State.STOPPED:
            self._table.add(entry.key, "chk_down")
        entry.since = now

    def _load(self, entry: Entry, leaves: bool) -> reports.Load:
        """What the log says of a server's streams. Who waits for a server that leaves is moved by the workers, who hear of it next;
        one that comes takes from the backend's queue what it may."""
        sessions, own = self._table.load(entry.key)
        if leaves:
            return reports.Load(sessions, own, 0)
        limit = entry.server.maxconn
        waiting = self._table.load(backend_key(entry.group.backend.name))[1]
        return reports.Load(sessions, min(waiting, max(0, limit - sessions)) if limit else waiting, own)

    def _nobody_left(self, group: Group, had: int) -> None:
        if had and not group.active + group.backups:
            self._log(group.backend, reports.EMERG, reports.no_server_line(group.backend.name))

    # -- publishing

    def _publish(self, entry: Entry, first: bool = False) -> None:
        """Write the entry's cells and count its backend anew."""
        weight = entry.effective()
        machine = entry.source().machine
        values = {
            "srv_op": int(entry.op),
            "srv_admin": int(entry.admin),
            "srv_disabled": int(entry.server.disabled),
            "weight": weight,
            "uweight": entry.uweight,
            "throttle": entry.throttle,
            "last_change": int(entry.since),
        }
        if machine is not None:
            values["srv_health"] = machine.health
            if machine is entry.machine:
                values["check_status"] = int(machine.result.status)
        if entry.agent is not None:
            values["agent_health"], values["agent_status"] = entry.agent.health, int(entry.agent.result.status)
        self._table.set(entry.key, **values)
        usable = entry.op in (State.RUNNING, State.STARTING) and not entry.admin and weight > 0
        if usable != entry.usable:
            entry.usable = usable
            self._recount(entry.group, entry.server.backup, 1 if usable else -1, first)
        if first:
            for follower in entry.followers:
                follower.admin = inherited(follower)
                follower.op = starting(follower, follower.wanted())
                self._publish(follower, first=True)

    def _recount(self, group: Group, backup: bool, step: int, first: bool) -> None:
        had = group.active + group.backups
        if backup:
            group.backups += step
        else:
            group.active += step
        has = group.active + group.backups
        if first or bool(had) == bool(has):
            return
        key, now = backend_key(group.backend.name), int(self._clock.wall)
        if has:
            self._table.add(key, "downtime_s", max(0, now - self._table.read(key, "last_change")))
        else:
            self._table.add(key, "chk_down")
        self._table.set(key, last_change=now)

    # -- the operator

    def set_state(self, key: str, word: str) -> None:
        """"set server … state": ``word`` is "ready", "drain" or "maint". Raises KeyError, and ValueError for another word."""
        entry = self.entries[key]
        forced = Admin.FORCED_MAINT | Admin.CONFIG_MAINT
        if word == "maint":
            self._set_admin(entry, (entry.admin & ~Admin.FORCED_DRAIN) | Admin.FORCED_MAINT)
        elif word == "drain":
            self._set_admin(entry, (entry.admin & ~forced) | Admin.FORCED_DRAIN)
        elif word == "ready":
            self._set_admin(entry, entry.admin & ~(forced | Admin.FORCED_DRAIN))
        else:
            raise ValueError(f"unknown state '{word}'")

    def _set_admin(self, entry: Entry, admin: Admin, via: str = "") -> None:
        """Carry out a change of the administrative state, say it, hand it on."""
        before, was = entry.admin, entry.op
        if admin == before:
            return
        group = entry.group
        had = group.active + group.backups
        entry.admin = admin
        if before.maint and not admin.maint:
            entry.said = State.RUNNING
            if entry.machine is not None:
                entry.machine.reset(entry.server.init_state)
        entry.op = starting(entry, entry.wanted())
        if admin.maint or entry.op is State.STOPPED:
            self._end_slow(entry)
        if entry.op is not was:
            self._stamp(entry, was)
        self._publish(entry)
        self._say_admin(entry, before, was, via)
        self._nobody_left(group, had)
        if self._changed is not None and entry.op is not was:
            self._changed(entry, was)
        for follower in entry.followers:
            wanted = inherited(follower)
            if wanted != follower.admin:
                self._set_admin(follower, wanted, via=entry.key)

    def _say_admin(self, entry: Entry, before: Admin, was: State, via: str) -> None:
        key, backup, group, admin = entry.key, entry.server.backup, entry.group, entry.admin
        counts = (group.active, group.backups)
        tail = f" via {via}" if via else ""
        name = f"{'Backup ' if backup else ''}Server {key}"
        up = "DOWN" if entry.op is State.STOPPED else "UP"
        if admin.maint and not before.maint:
            if was is State.STOPPED:
                self._log(group.backend, reports.NOTICE, f"{name} was DOWN and now enters maintenance{tail}.")
                return
            level = reports.NOTICE if was is State.STOPPING or before.drain else reports.ALERT
            line = reports.admin_line(key, backup, f"is going DOWN for maintenance{tail}", *counts, True, self._load(entry, True))
            self._log(group.backend, level, line)
        elif before.maint and not admin.maint:
            forced = "" if via else "forced "
            mode = "DRAIN" if admin.drain else "READY"
            self._log(group.backend, reports.NOTICE, f"{name} is {up}/{mode} (leaving {forced}maintenance).")
        elif admin.drain and not before.drain:
            line = reports.admin_line(key, backup, f"enters drain state{tail}", *counts, False, self._load(entry, True))
            self._log(group.backend, reports.NOTICE, line)
        elif before.drain and not admin.drain:
            self._log(group.backend, reports.NOTICE, f"{name} is {up} (leaving forced drain).")

    def set_health(self, key: str, word: str) -> None:
        """"set server … health": "up", "stopping" or "down". Raises KeyError, ValueError for a server that tracks another one."""
        entry = self.entries[key]
        machine = entry.machine
        if entry.server.track:
            raise ValueError("cannot change the health of a server that tracks another one")
        state = {"up": State.RUNNING, "stopping": State.STOPPING, "down": State.STOPPED}.get(word)
        if state is None:
            raise ValueError(f"unknown health '{word}'")
        if machine is None:
            entry.said = state
        else:
            machine.force(state is not State.STOPPED)
            machine.state = state
        if not entry.admin.maint:
            self._move(entry, ", changed from CLI")
            self._publish(entry)

    def set_weight(self, key: str, weight: int) -> None:
        """"set weight": in the user's unit, 0 to 256; 0 drains. Raises KeyError, ValueError."""
        if not 0 <= weight <= 256:
            raise ValueError("weight must be between 0 and 256")
        entry = self.entries[key]
        had = entry.group.active + entry.group.backups
        entry.uweight = weight
        self._publish(entry)
        self._nobody_left(entry.group, had)

    def change_weight(self, key: str, text: str) -> None:
        """"set weight" as words: an absolute weight, or a share of the file's as "75%". Raises KeyError, ValueError with the complaint."""
        entry = self.entries[key]
        weight = parse_weight(text, entry.server.weight)
        if entry.group.fixed and weight not in (0, entry.server.weight):
            raise ValueError("Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.")
        if weight != entry.uweight:
            self.set_weight(key, weight)

    def _change_limit(self, key: str, text: str) -> None:
        entry = self.entries[key]
        limit = parse_maxconn(text)
        if limit != entry.server.maxconn and self._limit is not None:
            self._limit(entry, limit)

    # -- slow start

    def step(self) -> None:
        """Give servers in a slow start the weight of the moment (manual 5.2 "slowstart": linear from nothing to all of it)."""
        now = self._clock.now
        for entry in list(self.slow):
            whole = entry.server.slowstart_s
            percent = 100 if whole <= 0 else int(100 * (now - entry.slow_since) / whole)
            if percent >= 100:
                self._end_slow(entry)
                if entry.op is State.STARTING:
                    entry.op = entry.wanted()
            else:
                entry.throttle = max(1, percent)
            self._publish(entry)

    def _end_slow(self, entry: Entry) -> None:
        entry.throttle = 0
        self.slow.discard(entry)

    # -- asking

    def total_weight(self, group: Group) -> int:
        """The effective weights of the servers in use (active ones, else backups), in the user's unit."""
        backups = not group.active
        return sum(-(-e.effective() // SCALE) for e in group.entries if e.usable and e.server.backup is backups)
