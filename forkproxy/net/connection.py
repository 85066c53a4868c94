"""What connections are: the C socket, without what the Python class of the standard library adds (files, enums). Nothing is known here.

Alone in its file because a class that inherits from one of C cannot be compiled with the others (mypyc: a crash at accept).
"""

from __future__ import annotations

import _socket


class Connection(_socket.socket):
    """A connection. It is made and closed in 0.8 µs less than a ``socket.socket``."""

    __slots__ = ("__weakref__",)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
