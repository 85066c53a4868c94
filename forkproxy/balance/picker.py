"""What every balancing algorithm is: a :class:`Picker` over a :class:`View`, and who is a candidate at all.

A picker answers with the index of a server in ``Backend.servers``. It knows nothing of sockets, queues or shared memory: what it
must know of a server's present state it asks the view, and only in :meth:`Picker.rebuild`, so that picking reads what was built
there. The one question asked while picking is ``view.full(i)``, and only where a candidate has a limit at all.

Weights are *effective weights in sixteenths*: 16 times the user's weight, less during a slow start (HAProxy's scale, on which its
round robin sequence and the number of nodes in its hash ring depend).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, Protocol

from forkproxy import plan
from forkproxy.compiled import mypyc_attr

#: Sixteenths per unit of user weight.
SCALE = 16


class View(Protocol):
    """What a picker asks about the servers of its backend; the proxy's runtime supplies it."""

    @property
    def offset(self) -> int:
        """How many turns round robin leaves out at first: 0 begins as HAProxy does; a worker's number spreads the workers."""

    def usable(self, i: int) -> bool:
        """Whether the server takes new streams: running, neither in maintenance nor draining. Weight is asked separately."""

    def weight(self, i: int) -> int:
        """The effective weight in sixteenths: 16 for ``weight 1``, fewer in a slow start, 0 for none."""

    def limited(self, i: int) -> bool:
        """Whether the server has a ``maxconn`` now, that is whether :meth:`full` can ever be true."""

    def full(self, i: int) -> bool:
        """Whether the server is at its (dynamic) ``maxconn`` or has a queue. Asked while picking."""

    def queue_full(self, i: int) -> bool:
        """Whether the server has ``maxconn`` and ``maxqueue`` and its queue is at the latter (``hash-preserve-affinity maxqueue``)."""

    def elsewhere(self, i: int) -> int:
        """Streams that *other* workers have on the server, as far as known; 0 is a fine answer."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Picker(ABC):
    """Chooses servers of one backend in one worker.

    ``candidates`` are the servers in question, in the order of the file: the usable active ones, else the backups (only the first
    without ``option allbackups``). With candidates, a pick of None means "all are full": queue on the backend.
    ``counts`` tells whether :meth:`on_start` and :meth:`on_end` must be called.
    """

    __slots__ = ("backend", "candidates", "counts", "on_backups", "view")

    def __init__(self, backend: plan.Backend, view: View) -> None:
        self.backend = backend
        self.view = view
        self.counts = self._counts()
        self.candidates: tuple[int, ...] = ()
        self.on_backups = False
        self.rebuild()

    @abstractmethod
    def pick(self, txn: Any, exclude: Collection[int] = ()) -> int | None:
        """The server for this stream, or None when nobody can take it.

        ``exclude`` are servers that this stream failed on: they are avoided, but given when they are all there is.
        """

    def rebuild(self) -> None:
        """Read the view anew: to be called after any change of status, weight or limit."""
        self._select()

    def on_start(self, i: int) -> None:  # noqa: B027  (nothing to do for who does not count)
        """A stream was given to server ``i``."""

    def on_end(self, i: int) -> None:  # noqa: B027
        """A stream left server ``i``."""

    def sync(self) -> None:  # noqa: B027
        """Read what other workers have in progress (:meth:`View.elsewhere`), where the algorithm counts; now and then is enough."""

    def _counts(self) -> bool:
        return False

    def _weight(self, i: int) -> int:
        return self.view.weight(i)

    def _select(self) -> None:
        view, servers = self.view, self.backend.servers
        alive = [i for i in range(len(servers)) if view.usable(i) and self._weight(i) > 0]
        active = tuple(i for i in alive if not servers[i].backup)
        self.on_backups = not active
        backups = tuple(alive) if self.backend.allbackups else tuple(alive[:1])
        self.candidates = active or backups

    def _limited(self) -> bool:
        # A single backup is given even when it is full: streams wait for it, as HAProxy has it.
        if self.on_backups and not self.backend.allbackups:
            return False
        return any(map(self.view.limited, self.candidates))
