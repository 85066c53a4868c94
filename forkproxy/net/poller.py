"""The kernel's list of watched descriptors: a selector of the standard library, of which the loop asks the epoll object itself.

``select()`` builds a list of ``(SelectorKey, events)`` tuples with a lookup and two masks per event: 0.34 µs per event (64 ready, Python
3.11), against 0.17 µs for ``epoll.poll()`` and one look into the loop's table. ``register()`` plus ``unregister()`` cost 3.1 µs,
:meth:`Loop.add` plus :meth:`Loop.remove` 2.0 µs (most of it the kernel's), deadlines included.

There are two lists, the second one watched by the first: what is in the second is handled behind the events of the first. The kernel
reports what is ready in the order in which it became so, and where thousands of clients have something to say, what servers answer would
wait behind all of them, and each would need a connection to a server meanwhile. Knows descriptors and masks.
"""

from __future__ import annotations

import select
import selectors
from collections.abc import Iterable


class Poller(selectors.EpollSelector):
    """A selector whose epoll objects the loop uses directly: ``epoll`` and, watched by it, ``behind``.

    The inherited ``register``/``select`` keep working for their own registrations, which the loop does not look at.
    """

    def __init__(self) -> None:
        super().__init__()
        self._join(self._selector)

    def _join(self, first: select.epoll) -> None:
        self.epoll = first
        self.behind = select.epoll()
        self.second = self.behind.fileno()
        first.register(self.second, select.EPOLLIN)

    def of(self, behind: bool) -> select.epoll:
        """The list for those who are handled behind others, or the other one."""
        return self.behind if behind else self.epoll

    def close(self) -> None:
        """Close both."""
        self.behind.close()
        super().close()

    def renew(self, watched: Iterable[tuple[int, int, bool]]) -> None:
        """Replace the epoll objects by new ones that watch these: descriptor, events, whether in ``behind``."""
        self.behind.close()
        self.epoll.close()
        self._selector: select.epoll = select.epoll()
        self._join(self._selector)
        for fd, mask, behind in watched:
            try:
                self.of(behind).register(fd, mask)
            except OSError:
                continue  # closed behind our back: its owner will find out
