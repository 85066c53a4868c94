"""Names for the sets of places where a fetch may be used (the columns of ``registry.USES``), so that one word says it."""

from __future__ import annotations

from forkproxy.registry import USES


def _span(first: int, last: int, *more: int) -> frozenset[str]:
    return frozenset(USES[first : last + 1]) | {USES[i] for i in more}


ANYWHERE = frozenset(USES)
#: internal states: everywhere but in the configuration parser
RUNNING = _span(0, 19, 21)
#: the client's connection
CLIENT = _span(0, 19)
#: what a session begins with
SESSION = _span(1, 18)
CLIENT_STREAM = _span(0, 18)
#: the request while it is there
REQUEST = _span(2, 10)
#: of the request, but kept until the log
KEPT = _span(2, 18)
RESPONSE = _span(11, 17, 19)
#: the server's side, to the log
SERVER = _span(11, 19)
#: once a backend was chosen
BACKEND = _span(6, 19)
#: once a server was chosen
CHOSEN = _span(10, 19)
#: from the choice of a server to the log
FROM_CHOICE = _span(9, 18)
EITHER = _span(2, 17, 19)

#: what a set needs, in words
def describe(uses: frozenset[str]) -> str:
    """What has to be there for a fetch with these ``uses``, for messages."""
    if "fe-http-req" not in uses and "be-http-req" not in uses:
        return "the response or the server" if "be-http-res" in uses else "a later phase"
    if "be-http-res" not in uses:
        return "the request, which is gone by then" if "fe-http-req" in uses else "the backend"
    return "the backend" if "fe-http-req" not in uses else "the stream's content"
