"""What commands of the runtime CLI are about, by the words that an operator names it with. Refusals are worded as HAProxy's, since scripts
read them.

A name, or ``#`` and the number that the file or the order in it gives.
"""

from __future__ import annotations

from forkproxy.health.entry import Entry
from forkproxy.master.cli_session import Refused, Session
from forkproxy.plan import Backend, Frontend


def _is(word: str, name: str, number: int) -> bool:
    return word == name or (word[:1] == "#" and word[1:] == str(number))


def backend(session: Session, word: str, complaint: str = "No such backend.") -> Backend:
    """The backend that ``word`` names. Raises Refused."""
    for one in session.master.plan.backends.values():
        if _is(word, one.name, one.id):
            return one
    raise Refused(complaint)


def backend_at(session: Session, words: list[str], index: int) -> Backend:
    """The backend that the word at ``index`` names. Raises Refused."""
    if len(words) <= index:
        raise Refused("A backend name is expected.")
    return backend(session, words[index])


def frontend(session: Session, words: list[str], index: int) -> Frontend:
    """The frontend that the word at ``index`` names. Raises Refused."""
    if len(words) <= index:
        raise Refused("A frontend name is expected.")
    for one in session.master.plan.frontends:
        if _is(words[index], one.name, one.id):
            return one
    raise Refused("No such frontend.")


def server(session: Session, words: list[str], index: int) -> Entry:
    """The board's entry of the server that the word at ``index`` names: ``backend/server``. Raises Refused."""
    of, slash, name = (words[index] if len(words) > index else "").partition("/")
    if not slash:
        raise Refused("Require 'backend/server'.")
    for one in backend(session, of).servers:
        if _is(name, one.name, one.id):
            return session.master.health.board.entries[one.key]
    raise Refused("No such server.")
