"""What the master says about servers: state, weight, last check. Cells of the master's slot, and one number that tells that
something changed. What the last checks said in words stands in the segment's texts.

The master writes the cells first and the epoch last; a worker compares the epoch once per turn and reads again on a change. If it
reads while the master is writing the next change, the epoch has moved once more by its next turn, so it ends with what is true. Before
a text stands a number that is odd while the master writes; a reader that meets one, or another one after reading, looks again.
Source of the numbers: management manual 9.3 "show servers state" (srv_op_state, srv_admin_state).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from forkproxy.state.counters import Rows
from forkproxy.state.layout import (
    COUNTERS,
    EPOCH,
    QUEUE_CUR,
    SESS_CUR,
    SRV_ADMIN,
    SRV_HEALTH,
    SRV_OP,
    THROTTLE,
    UWEIGHT,
    WEIGHT,
    Kind,
)
from forkproxy.state.segment import TEXT_CELLS

STOPPED: Final = 0
STARTING: Final = 1
RUNNING: Final = 2
STOPPING: Final = 3

MAINT_MASK: Final = 0x01 | 0x02 | 0x04 | 0x20 | 0x40
DRAIN_MASK: Final = 0x08 | 0x10

#: Effective weights are kept in this fraction of the user's unit.
SCALE: Final = 16

#: Values of CHECK_LOOK and AGENT_LOOK.
IN_FLIGHT: Final = 1
SUSPENDED: Final = 2

#: Which text of a server: what its last check, or its agent, said.
CHECK_TEXT: Final = 0
AGENT_TEXT: Final = 1
#: A text is cut to so many bytes, as HAProxy does.
TEXT_BYTES: Final = 128
_STRIDE: Final = 1 + TEXT_BYTES // 8  # cells: the number of changes, the text
_LOOKS = 5  # how often a reader looks at a text that is being written

#: Changes of these concern the workers; the others (checks, times) are for who looks at statistics.
_CONCERNING: Final = frozenset(("srv_op", "srv_admin", "weight", "uweight"))


class ServerState(NamedTuple):
    """A server at one moment. ``weight`` is the effective one in 1/16 of the user's unit (``SCALE``), so that a slow start has steps."""

    op: int
    admin: int
    weight: int
    uweight: int
    health: int
    throttle: int

    @property
    def maint(self) -> bool:
        """In maintenance: no traffic, no checks."""
        return bool(self.admin & MAINT_MASK)

    @property
    def drain(self) -> bool:
        """Only persistent connections, by the operator's wish."""
        return bool(self.admin & DRAIN_MASK)

    @property
    def up(self) -> bool:
        """Takes traffic of some kind."""
        return self.op != STOPPED and not self.admin & MAINT_MASK

    @property
    def usable(self) -> bool:
        """Takes new clients, if its weight is not 0: neither stopping nor in maintenance nor draining."""
        return self.op in (STARTING, RUNNING) and not self.admin


def shown_weight(weight: int) -> int:
    """An effective weight in the user's unit, rounded up as ``show stat`` shows it."""
    return -(-weight // SCALE)


class ServerTable:
    """Server cells of the master's slot. Only the master calls :meth:`set`."""

    __slots__ = ("_cells", "_rows", "_texts")

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._cells = rows.segment.slot(rows.segment.master)
        self._texts = rows.segment.texts

    @property
    def rows(self) -> Rows:
        """All rows, of which these cells are a part."""
        return self._rows

    @property
    def epoch(self) -> int:
        """Grows with every change that concerns the workers."""
        return self._cells[EPOCH]

    @property
    def cells(self) -> memoryview:
        """The master's slot, for a hot path that compares ``cells[layout.EPOCH]`` by itself."""
        return self._cells

    def get(self, name: str) -> ServerState:
        """The state of server ``name`` (``backend/server``). Raises KeyError."""
        cells, base = self._cells, self._rows.base(name)
        return ServerState(
            cells[base + SRV_OP],
            cells[base + SRV_ADMIN],
            cells[base + WEIGHT],
            cells[base + UWEIGHT],
            cells[base + SRV_HEALTH],
            cells[base + THROTTLE],
        )

    def load(self, name: str) -> tuple[int, int]:
        """(streams, streams in the queue) of a server or backend now, over all workers. Raises KeyError."""
        totals = self._rows.totals(name)
        return totals[SESS_CUR], totals[QUEUE_CUR]

    def read(self, name: str, counter: str) -> int:
        """One STATE cell of a server or backend by its name in ``layout``. Raises KeyError."""
        return self._cells[self._rows.base(name) + COUNTERS[counter].offset]

    def set(self, name: str, **values: int) -> bool:
        """Write STATE cells of a server or backend, by their names in ``layout``: ``set("b/s1", srv_op=RUNNING, weight=1 * SCALE)``.

        Moves the epoch when a cell that concerns workers changed; returns whether it did. Raises KeyError, and ValueError for a
        counter that is not the master's.
        """
        cells, base = self._cells, self._rows.base(name)
        concerned = False
        for key, value in values.items():
            counter = COUNTERS[key]
            if counter.kind is not Kind.STATE:
                raise ValueError(f"{key} is not the master's")
            if cells[base + counter.offset] != value:
                cells[base + counter.offset] = value
                concerned = concerned or key in _CONCERNING
        if concerned:
            self.bump()
        return concerned

    def add(self, name: str, counter: str, n: int = 1) -> None:
        """Add to a STATE cell that counts (``chk_fail``, ``chk_down``, ``downtime_s``)."""
        self._cells[self._rows.base(name) + COUNTERS[counter].offset] += n

    def say(self, name: str, which: int, text: str) -> None:
        """Keep a text of server ``name`` (``which``: CHECK_TEXT or AGENT_TEXT), cut to :data:`TEXT_BYTES`. Raises KeyError."""
        at, cells = self._text_at(name, which), self._texts
        data = text.encode("utf-8", "replace")[:TEXT_BYTES].ljust(TEXT_BYTES, b"\0")
        with memoryview(data).cast("q") as wanted:
            if cells[at + 1 : at + _STRIDE] == wanted:
                return
            cells[at] |= 1  # odd already: a master died while it wrote
            cells[at + 1 : at + _STRIDE] = wanted
            cells[at] += 1

    def said(self, name: str, which: int) -> str:
        """What :meth:`say` keeps; "" when there is nothing. Raises KeyError."""
        at, cells = self._text_at(name, which), self._texts
        if not cells[at]:
            return ""
        data = b""
        for _ in range(_LOOKS):
            before = cells[at]
            data = cells[at + 1 : at + _STRIDE].tobytes()
            if not before & 1 and cells[at] == before:
                break
        return data.rstrip(b"\0").decode("utf-8", "ignore")

    def _text_at(self, name: str, which: int) -> int:
        return self._rows.names.row(name) * TEXT_CELLS + which * _STRIDE

    def bump(self) -> None:
        """Tell the workers to look again, though no cell says so (a server was added, an address changed)."""
        self._cells[EPOCH] += 1
