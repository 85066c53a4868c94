"""Fetches that need no traffic: constants, time, the process, the state of other proxies (manual 7.3.2)."""

from __future__ import annotations

import os
import random
import socket
import time as _time
from collections.abc import Callable
from typing import Any

from forkproxy.registry import Type, fetch
from forkproxy.rules import phases, world
from forkproxy.rules.args import Arg, Context, Int, IPv4, IPv6, Name, OneOf, Str
from forkproxy.rules.context import RuleContext
from forkproxy.rules.expr import Const, FetchFn
from forkproxy.rules.types import Addr

_ANY: dict[str, Any] = {"uses": phases.ANYWHERE}
_RUN: dict[str, Any] = {"uses": phases.RUNNING}


# -- constants -----------------------------------------------------------------------------------------------------------


@fetch("always_true", out=Type.BOOL, **_ANY)
def always_true() -> Const:
    """True."""
    return Const(True)


@fetch("always_false", out=Type.BOOL, **_ANY)
def always_false() -> Const:
    """False."""
    return Const(False)


@fetch("bool", out=Type.BOOL, args=(Str(),), **_ANY)
def bool_(text: bytes) -> Const:
    """A constant boolean: true, false, 1 or 0."""
    word = text.lower()
    if word not in (b"true", b"false", b"1", b"0"):
        raise ValueError(f"'{text.decode('utf-8', 'replace')}' is not a boolean, expected true, false, 1 or 0")
    return Const(word in (b"true", b"1"))


@fetch("int", out=Type.SINT, args=(Int(),), **_ANY)
def int_(value: int) -> Const:
    """A constant integer."""
    return Const(value)


@fetch("str", out=Type.STR, args=(Str(),), **_ANY)
def str_(text: bytes) -> Const:
    """A constant string."""
    return Const(text)


@fetch("bin", out=Type.BIN, args=(Str(),), **_ANY)
def bin_(text: bytes) -> Const:
    """Constant bytes, written in hexadecimal digits."""
    if not text:
        raise ValueError("no bytes are given")
    try:
        return Const(bytes.fromhex(text.decode("ascii", "replace")))
    except ValueError:
        raise ValueError(f"'{text.decode('utf-8', 'replace')}' is not an even number of hexadecimal digits") from None


@fetch("meth", out=Type.METH, args=(Str(),), **_ANY)
def meth(text: bytes) -> Const:
    """A constant method."""
    return Const(text)


@fetch("ipv4", out=Type.IPV4, args=(IPv4(),), **_ANY)
def ipv4(addr: Addr) -> Const:
    """A constant IPv4 address."""
    return Const(addr)


@fetch("ipv6", out=Type.IPV6, args=(IPv6(),), **_ANY)
def ipv6(addr: Addr) -> Const:
    """A constant IPv6 address."""
    return Const(addr)


@fetch("env", out=Type.STR, args=(Str(),), **_ANY)
def env(name: bytes) -> Const:
    """An environment variable as it was when the configuration was read."""
    return Const(os.environb.get(name))


@fetch("hostname", out=Type.STR, **_ANY)
def hostname() -> Const:
    """The name of this machine."""
    return Const(socket.gethostname().encode())


def _busy(name: str, everybody: bool, doc: str) -> None:
    def factory() -> FetchFn:
        return lambda txn: world.view().cpu_percent(everybody)

    factory.__doc__ = doc
    fetch(name, out=Type.SINT, uses=phases.RUNNING)(factory)


_busy("cpu_usage_thr", False, "How busy this worker has been lately, from 0 to 100.")
_busy("cpu_usage_grp", True, "How busy the workers have been lately, from 0 to 100.")
_busy("cpu_usage_proc", True, "How busy the workers have been lately, from 0 to 100.")


# -- time and chance -----------------------------------------------------------------------------------------------------


_UNIT = OneOf("string", optional=True, default="s", words=("s", "ms", "us"))


@fetch("date", out=Type.SINT, args=(Int(optional=True, default=0), _UNIT), **_ANY)
def date(offset: int, unit: str) -> FetchFn:
    """The time since the epoch in s, ms or us, plus an offset in that unit."""
    scale = {"s": 1, "ms": 1000, "us": 1_000_000}[unit]
    return lambda txn: int((txn.clock.wall if txn is not None else _time.time()) * scale) + offset


@fetch("date_us", out=Type.SINT, **_ANY)
def date_us() -> FetchFn:
    """The microseconds within the present second."""
    return lambda txn: int((txn.clock.wall if txn is not None else _time.time()) % 1 * 1_000_000)


@fetch("rand", out=Type.SINT, args=(Int(optional=True, default=1 << 32),), **_ANY)
def rand(limit: int) -> FetchFn:
    """A random integer from 0 to the limit (not included); 2^32 by default."""
    pick = random.random
    return lambda txn: int(pick() * limit)


@fetch("uuid", out=Type.STR, args=(Int(optional=True, default=4),), **_ANY)
def uuid(version: int) -> FetchFn:
    """A random UUID, version 4 or 7."""
    import uuid as _uuid  # 2 ms that only its users pay for

    if version == 4:
        return lambda txn: str(_uuid.uuid4()).encode()
    if version != 7:
        raise ValueError("only versions 4 and 7 exist here")

    def seven(txn: Any) -> bytes:
        wall = txn.clock.wall if txn is not None else _time.time()
        number = int(wall * 1000) << 80 | 7 << 76 | random.getrandbits(12) << 64 | 2 << 62 | random.getrandbits(62)
        return str(_uuid.UUID(int=number)).encode()

    return seven


# -- the process ---------------------------------------------------------------------------------------------------------


@fetch("nbproc", out=Type.SINT, **_ANY)
def nbproc() -> FetchFn:
    """The number of workers."""
    return lambda txn: world.view().workers()


@fetch("proc", out=Type.SINT, **_ANY)
def proc() -> FetchFn:
    """The number of the worker that handles the stream, from 1 on."""
    return lambda txn: world.view().worker()


@fetch("thread", out=Type.SINT, **_ANY)
def thread() -> FetchFn:
    """The number of the worker that handles the stream, from 0 on (a worker is what HAProxy's thread is)."""
    return lambda txn: world.view().worker() - 1


@fetch("pid", out=Type.SINT, **_ANY)
def pid() -> FetchFn:
    """The worker's process id."""
    return lambda txn: os.getpid()


@fetch("stopping", out=Type.BOOL, **_RUN)
def stopping() -> FetchFn:
    """Is the process about to stop?"""
    return lambda txn: world.view().stopping()


@fetch("act_conn", out=Type.SINT, **_ANY)
def act_conn() -> FetchFn:
    """Connections of the whole service."""
    return lambda txn: world.view().process_connections()


@fetch("uptime", out=Type.SINT, **_ANY)
def uptime() -> FetchFn:
    """For how many seconds this worker has been there."""
    return lambda txn: int(world.uptime_s())


@fetch("tgroup", out=Type.SINT, **_ANY)
def tgroup() -> Const:
    """The number of the thread group: workers are all in one, 0."""
    return Const(0)


@fetch("quic_enabled", out=Type.BOOL, **_ANY)
def quic_enabled() -> Const:
    """False: there is no QUIC here."""
    return Const(False)


# -- ACLs --------------------------------------------------------------------------------------------------------------


@fetch("acl", out=Type.BOOL, args=(Str(), *(Str(optional=True) for _ in range(11)), Context()), **_ANY)
def acl(*values: Any) -> FetchFn:
    """True when all named ACLs match; "!" in front of a name inverts it."""
    ctx: RuleContext = values[-1]
    terms: list[tuple[list[Any], bool]] = []
    for raw in values[:-1]:
        if raw is None:
            continue
        name = raw.decode()
        negated = name.startswith("!")
        tests = ctx.acls.get(name.lstrip("!"))
        if tests is None:
            raise ValueError(f"no such ACL : '{name.lstrip('!')}'")
        terms.append((tests, negated))

    def get(txn: Any) -> bool:
        return all(any(test.match(txn) for test in tests) != negated for tests, negated in terms)

    return get


# -- other proxies -------------------------------------------------------------------------------------------------------

_BACKEND: tuple[Arg, ...] = (Name("backend", optional=True),)
_FRONTEND: tuple[Arg, ...] = (Name("frontend", optional=True),)
_SERVER_ARG: tuple[Arg, ...] = (Name("server"), Context())


def _of_backend(name: str, doc: str, ask: Callable[[world.View, str], Any], out: Type = Type.SINT) -> None:
    def factory(backend: str) -> FetchFn:
        if backend:
            return lambda txn: ask(world.view(), backend)
        return lambda txn: ask(world.view(), (txn.be or txn.fe).name)

    factory.__doc__ = doc
    fetch(name, out=out, args=_BACKEND, **_RUN)(factory)


_of_backend("nbsrv", "How many servers of a backend can take traffic.", lambda v, b: v.usable_servers(b))
_of_backend("be_conn", "Connections of a backend.", lambda v, b: v.backend_connections(b))
_of_backend("be_conn_free", "How many more connections a backend's servers take; -1 without a limit.", lambda v, b: v.backend_free(b))
_of_backend("be_sess_rate", "New sessions per second of a backend.", lambda v, b: v.backend_rate(b))
_of_backend("connslots", "Free connection and queue slots of a backend's servers; -1 without a limit.", lambda v, b: v.backend_slots(b))
_of_backend("queue", "Streams in the queues of a backend and its servers.", lambda v, b: v.backend_queue(b))


def _average_queue(view: world.View, backend: str) -> int | None:
    waiting, servers = view.backend_queue(backend), view.usable_servers(backend)
    if waiting is None:
        return None
    return (waiting + servers - 1) // servers if servers else waiting


_of_backend("avg_queue", "Streams in the queues of a backend, divided by its usable servers.", _average_queue)


def _of_frontend(name: str, doc: str, ask: Callable[[world.View, str], Any]) -> None:
    def factory(frontend: str) -> FetchFn:
        if frontend:
            return lambda txn: ask(world.view(), frontend)
        return lambda txn: ask(world.view(), txn.fe.name)

    factory.__doc__ = doc
    fetch(name, out=Type.SINT, args=_FRONTEND, **_RUN)(factory)


_of_frontend("fe_conn", "Connections of a frontend.", lambda v, f: v.frontend_connections(f))
_of_frontend("fe_sess_rate", "New sessions per second of a frontend.", lambda v, f: v.frontend_rate(f))
_of_frontend("fe_req_rate", "Requests per second of a frontend.", lambda v, f: v.frontend_request_rate(f))


def _of_server(name: str, doc: str, ask: Callable[[world.View, str, str], Any], out: Type = Type.SINT) -> None:
    def factory(server: str, ctx: RuleContext) -> FetchFn:
        backend, slash, own = server.rpartition("/")
        if not slash:
            backend = ctx.name
        return lambda txn: ask(world.view(), backend, own)

    factory.__doc__ = doc
    fetch(name, out=out, args=_SERVER_ARG, **_RUN)(factory)


_of_server("srv_is_up", "Can a server take traffic?", lambda v, b, s: v.server_up(b, s), Type.BOOL)
_of_server("srv_conn", "Connections of a server.", lambda v, b, s: v.server_connections(b, s))
_of_server("srv_conn_free", "How many more connections a server takes; -1 without a limit.", lambda v, b, s: v.server_free(b, s))
_of_server("srv_queue", "Streams in a server's queue.", lambda v, b, s: v.server_queue(b, s))
_of_server("srv_sess_rate", "New sessions per second of a server.", lambda v, b, s: v.server_rate(b, s))
_of_server("srv_weight", "A server's weight now.", lambda v, b, s: v.server_weight(b, s, "eff"))
_of_server("srv_uweight", "A server's weight as the operator set it.", lambda v, b, s: v.server_weight(b, s, "user"))
_of_server("srv_iweight", "A server's weight in the configuration.", lambda v, b, s: v.server_weight(b, s, "initial"))
