"""What rules may ask about the running service beyond their own stream: a small view that ``proxy`` sets.

Fetches such as ``nbsrv`` or ``srv_is_up`` name other proxies; the numbers live in the shared state, which this room does not
know. ``install`` is called once per process, before traffic; until then :class:`View` answers for an idle service.
"""

from __future__ import annotations

import time
from typing import Any, Final

from forkproxy.compiled import mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class View:
    """Questions by name; ``proxy`` subclasses it. Names are those of the configuration; unknown ones give None (not found).

    A server is named by (backend, server). Counts are over all workers.
    """

    __slots__ = ()

    def cpu_percent(self, everybody: bool) -> int:
        """How busy the loop of this worker (or ``everybody``: of all workers, on average) has been lately, from 0 to 100."""
        return 0

    def usable_servers(self, backend: str) -> int | None:
        """Servers that can take traffic now (backups too when they are in use)."""
        return None

    def backend_connections(self, backend: str) -> int | None:
        """Connections that the backend handles now."""
        return None

    def backend_free(self, backend: str) -> int | None:
        """How many more connections its servers take (``be_conn_free``); -1 when one has no limit."""
        return None

    def backend_slots(self, backend: str) -> int | None:
        """Free connection and queue slots (``connslots``); -1 when one server has no limit."""
        return None

    def backend_queue(self, backend: str) -> int | None:
        """Streams in the queues of the backend and its servers."""
        return None

    def backend_rate(self, backend: str) -> int | None:
        """New sessions in the last second."""
        return None

    def frontend_connections(self, frontend: str) -> int | None:
        """Connections of the frontend now."""
        return None

    def frontend_rate(self, frontend: str) -> int | None:
        """New sessions in the last second."""
        return None

    def frontend_request_rate(self, frontend: str) -> int | None:
        """Requests in the last second."""
        return None

    def server_up(self, backend: str, server: str) -> bool | None:
        """Can the server take traffic?"""
        return None

    def server_connections(self, backend: str, server: str) -> int | None:
        """Connections of the server now."""
        return None

    def server_free(self, backend: str, server: str) -> int | None:
        """How many more connections it takes; -1 without a limit."""
        return None

    def server_queue(self, backend: str, server: str) -> int | None:
        """Streams in its queue."""
        return None

    def server_rate(self, backend: str, server: str) -> int | None:
        """New sessions in the last second."""
        return None

    def server_weight(self, backend: str, server: str, kind: str) -> int | None:
        """Its weight: ``kind`` is "eff" (now), "user" (set by the operator) or "initial"."""
        return None

    def process_connections(self) -> int:
        """Connections of the whole service now."""
        return 0

    def connections(self, txn: Any) -> tuple[int, int, int, int]:
        """Connections now of service, frontend, backend and server of a stream that ends, for its log line: as of a moment ago, where
        other workers have some."""
        own: tuple[int, int, int, int] = txn.conn_counts
        return own

    def workers(self) -> int:
        """How many workers there are."""
        return 1

    def worker(self) -> int:
        """The number of this worker, from 1 on."""
        return 1

    def listener_connections(self, bind: Any) -> int | None:
        """Connections of one listening address now."""
        return None

    def stopping(self) -> bool:
        """Is this worker draining?"""
        return False

    def log_count(self, frontend: str) -> int:
        """Log lines that the frontend has written so far."""
        return 0

    def certain_names(self) -> frozenset[str]:
        """The names of all frontends and listeners."""
        return frozenset()


_IDLE = View()
#: when this process began to serve, by the monotonic clock
_began = [time.monotonic()]
#: one element, so that closures made before ``install`` see what is installed
VIEW: Final[list[View]] = [_IDLE]


def install(view: View) -> None:
    """Let all fetches of this process ask ``view``."""
    VIEW[0] = view
    _began[0] = time.monotonic()


def uptime_s() -> float:
    """For how long this process has served."""
    return time.monotonic() - _began[0]


def view() -> View:
    """The view in force."""
    return VIEW[0]


def unique_id(txn: Any) -> bytes:
    """The stream's unique id, made when it is first asked for; empty where the frontend has no ``unique-id-format``."""
    found: bytes | None = txn.unique_id
    if found is None:
        render = txn.fe.plan.unique_id
        if render is None:
            return b""
        found = txn.unique_id = render(txn)
    return found


def connections(txn: Any) -> tuple[int, int, int, int]:
    """See :meth:`View.connections`."""
    return VIEW[0].connections(txn)


def log_count(txn: Any) -> int:
    """The number of the stream's log line in its frontend."""
    return VIEW[0].log_count(txn.fe.name)
