"""A piece of bytes from one socket to another: what a small exchange in TCP mode consists of. Two system calls and nothing else.

The compiled build has the same as ``_carry.pyx`` in C, without what Python adds to the two calls: their arguments read, the interpreter's
lock given back and taken, an object for the bytes: 0.8 of 2.5 µs of user time for an exchange. Whoever changes one changes the other;
``tests/unit/net/test_carry.py`` holds them to the same.
"""

from __future__ import annotations

import os

#: Outcomes that are no number of bytes.
ENDED = 0  # nothing more will come
NOTHING = -1  # nothing is there now
SOURCE_GONE = -2  # its connection broke
TARGET_GONE = -3  # its connection broke, and what came is lost


def carry(source: int, target: int, size: int) -> int | tuple[int, bytes]:
    """Receive up to ``size`` bytes from one non-blocking descriptor and send them to the other: how many that were, or one of the outcomes
    above. When not all could be sent, how many came and what is left of them, which is the caller's. Raises nothing of the network."""
    try:
        data = os.read(source, size)
    except BlockingIOError:
        return NOTHING
    except OSError:
        return SOURCE_GONE
    if not data:
        return ENDED
    try:
        sent = os.write(target, data)
    except BlockingIOError:
        sent = 0
    except OSError:
        return TARGET_GONE
    came = len(data)
    return came if sent == came else (came, data[sent:])


try:
    from forkproxy.net import _carry
except ImportError:  # a checkout, or a wheel that was not compiled
    best = carry
else:
    best = _carry.carry
