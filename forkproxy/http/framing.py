"""Where a body ends: one pure function over what the head says. Knows only the values of the two fields and the start line.

Theory (RFC 9112, section 6): two fields can give a length. Transfer-Encoding wins over Content-Length, but a message with both is
what request smuggling is made of, so the connection that brought it is not used again. Everything that two implementations could
read differently is refused: lengths that disagree, anything but exactly one final "chunked". What a status or a method says
about the body (HEAD, 204, 304, CONNECT, 101) comes last and wins over both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from forkproxy.errors import ProtocolError
from forkproxy.http.grammar import elements, is_digits
from forkproxy.http.message import BodyKind, Head, RequestHead, ResponseHead

if TYPE_CHECKING:
    from forkproxy.http.reader import Limits

#: no length may reach this (signed 64 bit, as everybody else counts)
MAX_LENGTH = 1 << 63


class Framing(NamedTuple):
    """``keep_length``/``keep_coding`` tell whether the fields may be forwarded; ``close``: the sender's connection must not be used
    again, ``close_peer``: neither the one on which the message is forwarded."""

    body: BodyKind
    length: int = 0
    keep_length: bool = True
    keep_coding: bool = True
    close: bool = False
    close_peer: bool = False


def declared_length(values: list[bytes]) -> int:
    """The one length that all ``values`` of Content-Length agree on.

    Raises ProtocolError 400 when an element is not a number, too large, or differs from another (RFC 9110, 8.6).
    """
    found = -1
    for element in elements(values):
        if not is_digits(element) or len(element.lstrip(b"0")) > 19:
            raise ProtocolError("malformed Content-Length")
        number = int(element)
        if number >= MAX_LENGTH:
            raise ProtocolError("Content-Length too large")
        if found >= 0 and number != found:
            raise ProtocolError("Content-Length values that differ")
        found = number
    return found


def check_coding(values: list[bytes], relaxed: bool = False) -> None:
    """Accept exactly "chunked" over all ``values`` of Transfer-Encoding.

    Raises ProtocolError: 422 for another coding before a final "chunked", 400 for everything else. ``relaxed`` also lets empty
    elements and repetitions of "chunked" pass (manual, "option accept-unsafe-violations-in-http-response").
    """
    codings = elements(values)
    if codings == [b"chunked"]:
        return
    if relaxed and set(codings) <= {b"chunked", b""} and b"chunked" in codings:
        return
    if codings[-1] == b"chunked" and b"chunked" not in codings[:-1] and b"" not in codings:
        raise ProtocolError("transfer coding that is not supported", 422)
    raise ProtocolError("malformed Transfer-Encoding")


def decide(lengths: list[bytes], codings: list[bytes], version: int, method: bytes, status: int, limits: Limits) -> Framing:
    """The framing of a message.

    ``lengths``/``codings`` are the values of the field lines Content-Length and Transfer-Encoding, ``method`` the request's method,
    ``status`` 0 for a request. Raises ProtocolError (400, 413, 422).
    """
    length = declared_length(lengths)
    chunked = bool(codings)
    if chunked:
        check_coding(codings, limits.relaxed and status > 0)
    close = chunked and ((length >= 0 and not limits.keeps_ambiguous) or version < 11)
    close_peer = chunked and version < 11
    keep_length = not chunked

    if not status and method == b"CONNECT":  # what follows is for a tunnel, whatever its length is said to be; refused, nobody can tell
        return Framing(BodyKind.NONE, 0, False, False, chunked or length >= 0)
    if status:
        if status == 101:
            return Framing(BodyKind.TUNNEL, 0, False, False)
        if status < 200 or status == 204:
            return Framing(BodyKind.NONE, 0, False, False)
        if method == b"CONNECT" and status < 300:
            return Framing(BodyKind.TUNNEL, 0, False, False)
        if method == b"HEAD" or status == 304:
            return Framing(BodyKind.NONE, 0, keep_length, True, close, close_peer)
    elif version < 11 and (chunked or length > 0) and method in (b"GET", b"HEAD", b"DELETE") and not limits.any_payload:
        raise ProtocolError("HTTP/1.0 request with a body that its method does not have", 413)

    if chunked:
        return Framing(BodyKind.CHUNKED, 0, keep_length, True, close, close_peer)
    if length > 0:
        return Framing(BodyKind.LENGTH, length)
    if length == 0 or not status:
        return Framing(BodyKind.NONE)
    return Framing(BodyKind.CLOSE, 0, close=True)


def reconcile_request(head: RequestHead) -> bool:
    """After rules changed fields: make the framing fields say what ``head.body`` is again; False when the body must be dropped.

    A rule that deletes the field which announces the body drops the body: the head then says ``content-length: 0`` and has
    BodyKind.NONE, and the caller drains what the client still sends. Every other edit of framing fields is undone, since rules
    must not be able to split requests.
    """
    if head.body is BodyKind.LENGTH:
        if head.get(b"content-length") is None:
            head.set(b"content-length", b"0")
            head.remove(b"transfer-encoding")
            head.body = BodyKind.NONE
            head.length = 0
            return False
    elif head.body is BodyKind.CHUNKED and head.get(b"transfer-encoding") is None:
        head.set(b"content-length", b"0")
        head.body = BodyKind.NONE
        return False
    _restore(head, head.get_all(b"content-length") == [b"0"])
    return True


def reconcile_response(head: ResponseHead, bodiless: bool) -> None:
    """After rules changed fields: make the framing fields say what ``head.body`` is again.

    A rule that deletes Content-Length makes the answer end with the client's connection (``close_peer``); the server's side still
    counts ``head.length``. ``bodiless``: the answer to HEAD or a 304, whose lengths only inform and stay as the rules left them.
    """
    if bodiless:
        return
    may_have = head.status >= 200 and head.status != 204
    if may_have and head.body in (BodyKind.LENGTH, BodyKind.NONE) and head.get(b"content-length") is None:
        head.close_peer = True
        head.remove(b"transfer-encoding")
    else:
        empty = may_have and head.body is BodyKind.NONE
        if empty and head.get_all(b"content-length") != [b"0"]:
            head.set(b"content-length", b"0")  # without one the client would wait for an end
        _restore(head, empty)


def _restore(head: Head, zero_stays: bool) -> None:
    """Framing fields as ``head.body`` wants them."""
    if head.body is BodyKind.LENGTH:
        wanted = b"%d" % head.length
        if head.get_all(b"content-length") != [wanted]:
            head.set(b"content-length", wanted)
        head.remove(b"transfer-encoding")
    elif head.body is BodyKind.CHUNKED:
        head.remove(b"content-length")
        if [value.lower() for value in head.get_all(b"transfer-encoding")] != [b"chunked"]:
            head.set(b"transfer-encoding", b"chunked")
    else:
        head.remove(b"transfer-encoding")
        if not zero_stays:
            head.remove(b"content-length")
