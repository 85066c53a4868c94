"""The forms of the statistics page: which servers of which backend, and what is to be done with them. Pure.

A form is ``s=<server>`` (may repeat), ``b=<backend>`` (a name, or ``#`` and its number) and ``action=<one of ACTIONS>``; the master carries
it out (``master.forms``) and answers with one of the words of :data:`MEANING`, which the page shows.
"""

from __future__ import annotations

from urllib.parse import unquote_plus

from forkproxy.values import frozen

#: value → what the page calls it, in the order of the page. The old names of HAProxy mean the same as new ones.
ACTIONS = {
    "ready": "Set state to READY",
    "drain": "Set state to DRAIN",
    "maint": "Set state to MAINT",
    "dhlth": "Health: disable checks",
    "ehlth": "Health: enable checks",
    "hrunn": "Health: force UP",
    "hnolb": "Health: force NOLB",
    "hdown": "Health: force DOWN",
    "dagent": "Agent: disable checks",
    "eagent": "Agent: enable checks",
    "arunn": "Agent: force UP",
    "adown": "Agent: force DOWN",
    "shutdown": "Kill sessions",
}
ALIASES = {"enable": "ready", "start": "ready", "disable": "maint", "stop": "drain"}

#: word of a redirect → (whether all is well, what the page says)
MEANING = {
    "DONE": (True, "Action processed successfully."),
    "PART": (False, "Action partially processed: some of the servers do not exist, or cannot do that."),
    "NONE": (False, "Nothing has changed: no action or no server was chosen, or it cannot do that."),
    "ERRP": (False, "Action not processed because of invalid parameters: the action, the backend or the servers may be unknown."),
    "EXCD": (False, "Action not processed: the request is larger than a buffer. Choose fewer servers at a time."),
    "DENY": (False, "Action denied."),
    "UNKN": (False, "Unexpected result."),
}
#: More servers than this in one form are a mistake.
MOST = 10_000


@frozen
class Form:
    """What was sent. ``action`` and ``backend`` as they came."""

    action: str = ""
    backend: str = ""
    servers: tuple[str, ...] = ()


def parse(body: bytes) -> Form:
    """Read an URL-encoded form; unknown fields are passed over. Raises ValueError for one that is none."""
    action = backend = ""
    servers: list[str] = []
    for pair in body.decode("latin-1").split("&"):
        name, _, value = pair.partition("=")
        value = unquote_plus(value, errors="strict")
        if name == "s" and len(servers) < MOST:
            servers.append(value)
        elif name == "b":
            backend = value
        elif name == "action":
            action = value
            if not value:
                raise ValueError("no action")
    return Form(action, backend, tuple(servers))
