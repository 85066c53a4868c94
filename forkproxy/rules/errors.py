"""What a rule may raise at run time."""

from __future__ import annotations


class NotYet(Exception):
    """A fetch cannot tell before more bytes have arrived. A rule set that meets it waits (``verdict.WAIT``)."""

