"""What one worker knows of its own process, for ``show fd``, ``show activity``, ``show pools`` and ``show tasks``."""

from __future__ import annotations

import gc
import resource
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from forkproxy.net.loop import READ, WRITE, Watched
from forkproxy.proxy.client import Client
from forkproxy.proxy.listener import Listener
from forkproxy.proxy.runtime import Runtime
from forkproxy.proxy.upstream import Upstream
from forkproxy.registry import order
from forkproxy.state import layout


@order("show fd")
def show_fd(rt: Runtime, only: int = -1, kinds: str = "") -> Iterator[str]:
    """One line for each watched descriptor: listeners (l), clients (f), servers (s, b), others; ``kinds`` "" shows all."""
    for w in rt.loop.watchers():
        if w.fd < 0 or only not in (-1, w.fd):
            continue
        kind, about = _about(w)
        if not kinds or kind in kinds:
            yield f"{w.fd:7d} : st={w.mask:#x}({'R' if w.mask & READ else 'r'}{'W' if w.mask & WRITE else 'w'}) {about}\n"


def _about(w: Watched) -> tuple[str, str]:
    if isinstance(w, Listener):
        return "l", f"l.st={'RDY' if w.on else 'LIM'} fe={w.fe.name} addr={w.at.bind.address}"
    if isinstance(w, Client):
        busy = "idle" if w.stream is None else "busy"
        return "f", f"back=0 fe={w.fe.name} src={w.origin.src}:{w.origin.src_port} {busy} served={w.served}"
    if isinstance(w, Upstream):
        return "s", f"back=1 sv={w.srv.key} {'idle' if w.stream is None else 'busy'} uses={w.uses}"
    return "o", f"owner={type(w).__name__}"


@order("show activity")
def show_activity(rt: Runtime) -> dict[str, int]:
    """Numbers of the loop and the process; names as in the lines of "show activity"."""
    loop, row = rt.loop, rt.process
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "loops": loop.turns,
        "wake_tasks": 0,
        "poll_io": loop.turns,
        "busy_ms": int(loop.busy_s * 1000),
        "lag_us": row[layout.LAG_US],
        "accepted": row[layout.CONN_TOT],
        "requests": row[layout.REQ_TOT],
        "streams": sum(c.stream is not None for c in rt.clients),
        "connections": rt.connections,
        "idle_servers": sum(srv.idle() for be in rt.backends.values() for srv in be.servers),
        "handler_errors": row[layout.HANDLER_ERRORS],
        "cpust_ms_tot": int((usage.ru_utime + usage.ru_stime) * 1000),
        "ctxsw": usage.ru_nvcsw + usage.ru_nivcsw,
        "maxrss_kb": usage.ru_maxrss,
    }


@order("show pools")
def show_pools(rt: Runtime) -> dict[str, Any]:
    """Where the memory of this process is: objects by type with their number and size, buffers and pipes."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    ours: set[str] = set()
    buffered = 0
    for c in rt.clients:
        for side in (c, c.stream.up if c.stream is not None else None):
            if side is not None:
                buffered += len(side.inbuf) + len(side.out)
    for thing in gc.get_objects():
        kind = type(thing)
        name = kind.__name__
        counts[name] += 1
        sizes[name] += sys.getsizeof(thing)
        if str(kind.__module__).startswith("forkproxy."):  # classes of extension modules may have a descriptor there
            ours.add(name)
    shown = ours.union(name for name, _count in counts.most_common(20))
    found: dict[str, Any] = {name: [counts[name], sizes[name]] for name in sorted(shown)}
    found["buffers"] = [len(rt.clients), buffered]
    if rt.pipes is not None:
        found["pipes"] = [rt.pipes.used + rt.pipes.free, 0]
    return found


@order("show tasks")
def show_tasks(rt: Runtime) -> dict[str, int]:
    """Timers that wait, by the function that they will call."""
    return dict(Counter(getattr(timer.fn, "__qualname__", str(timer.fn)) for timer in rt.loop.timers()).most_common())
