"""Fetches about what ends connections and streams, and about the connection's streams: errors, aborts, numbers (manual 7.3.2, 7.3.3).

HTTP/1 and TCP carry one stream at a time and have no codes for resetting one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forkproxy.registry import Needs, Type, fetch
from forkproxy.rules import phases
from forkproxy.rules.connerrors import ERRORS
from forkproxy.rules.expr import FetchFn

_CLIENT: dict[str, Any] = {"needs": Needs.L4, "uses": phases.CLIENT}
_SESSION: dict[str, Any] = {"needs": Needs.L4, "uses": phases.SESSION}
_SERVER: dict[str, Any] = {"needs": Needs.SERVER, "uses": phases.SERVER}


def _error(side: str, what: str, doc: str, places: dict[str, Any]) -> None:
    mark = f"{side}_err"

    def number(txn: Any) -> int:
        found: int = txn.marks.get(mark, 0) if txn.marks is not None else 0
        return found

    shown: dict[str, tuple[Type, FetchFn]] = {
        "": (Type.SINT, number),
        "_name": (Type.STR, lambda txn: ERRORS[number(txn)][0].encode()),
        "_str": (Type.STR, lambda txn: ERRORS[number(txn)][1].encode()),
    }
    begins = {"": "The number of ", "_name": "The name of ", "_str": "The text of "}
    for end, (out, fn) in shown.items():

        def factory(fn: FetchFn = fn) -> FetchFn:
            return fn

        factory.__doc__ = f"{begins[end]}{what}{doc}"
        fetch(f"{side}_err{end}", out=out, **places)(factory)


_error("fc", "the error", " that kept the client's connection from becoming a session; for error-log-format.", _CLIENT)
_error("bc", "the error", " of the last attempt to connect to the server, or of its connection.", _SERVER)


def _ended(name: str, doc: str, ended: Callable[[Any], bool], places: dict[str, Any]) -> None:
    def factory() -> FetchFn:
        return ended

    factory.__doc__ = doc
    fetch(name, out=Type.BOOL, **places)(factory)


_ended("fs.aborted", "Did the client leave before its stream was over?", lambda txn: txn.flags[:1] == b"C", _SESSION)
_ended("bs.aborted", "Did the server leave before its stream was over?",
       lambda txn: txn.flags[:1] == b"S" and txn.t_connect > 0, _SERVER)  # fmt: skip


def _number(name: str, doc: str, fn: FetchFn, places: dict[str, Any]) -> None:
    def factory() -> FetchFn:
        return fn

    factory.__doc__ = doc
    fetch(name, out=Type.SINT, **places)(factory)


_number("fs.id", "Which stream of the client's connection this is: requests are counted, 0 in TCP mode.",
        lambda txn: txn.stream_number("client"), _SESSION)  # fmt: skip
_number("bs.id", "Which stream of the server's connection this is, while it is served: requests are counted, 0 in TCP mode.",
        lambda txn: txn.stream_number("server"), _SERVER)  # fmt: skip
_number("fs.rst_code", "The code with which the client reset its stream: not found with protocols that have none, as here.",
        lambda txn: None, _SESSION)  # fmt: skip
_number("bs.rst_code", "The code with which the server reset its stream: not found with protocols that have none, as here.",
        lambda txn: None, _SERVER)  # fmt: skip
_number("fc_settings_streams_limit", "How many streams the client's connection may have at a time.", lambda txn: 1, _SESSION)
_number("bc_settings_streams_limit", "How many streams the server's connection may have at a time.", lambda txn: 1, _SERVER)
