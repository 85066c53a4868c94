"""What a second worker (or thread) gains: proxy, origin and load share two cores, as on a small machine."""

from __future__ import annotations

import os
from statistics import median
from typing import Any

from bench.cases import Case
from bench.load import ready, wrk
from bench.processes import LOAD_CORE, PROXY_CORE
from bench.sides import Ways, World, running

BOTH = f"{PROXY_CORE},{LOAD_CORE}"


def measure(case: Case, ways: Ways, world: World, rounds: int, seconds: float) -> tuple[str, dict[str, Any]]:
    """The case: rates with one worker and with two, and their quotient."""
    os.sched_setaffinity(world.origin.pid, {PROXY_CORE, LOAD_CORE})
    try:
        rates: dict[int, list[list[float]]] = {}
        for workers in (1, 2):
            with running(case, ways, world, cores=BOTH, workers=workers) as sides:
                rates[workers] = [[] for _ in sides]
                for side in sides:
                    ready(case, side, world)
                    wrk(case, side.port, 1.0, world.directory, BOTH)
                for _ in range(rounds):
                    for k, side in enumerate(sides):
                        requests, duration, _, _, errors = wrk(case, side.port, seconds, world.directory, BOTH)
                        if errors:
                            raise RuntimeError(f"{side.name} with {workers} made {errors} errors")
                        rates[workers][k].append(requests / duration)
    finally:
        os.sched_setaffinity(world.origin.pid, {LOAD_CORE})
    medians = [{"one": median(rates[1][k]), "two": median(rates[2][k])} for k in range(len(ways.names))]
    for m in medians:
        m["gain"] = m["two"] / m["one"]
    rows = "".join(
        f"| {name} | {m['one']:,.0f} | {m['two']:,.0f} | {m['gain']:.2f} |\n" for name, m in zip(ways.names, medians, strict=True)
    )
    head = "| | requests/s with one | with two | gain |\n|---|---:|---:|---:|\n"
    return f"## {case.name}\n\n{case.what}; {case.connections} connections.\n\n{head}{rows}", {"medians": medians, "rounds": rates}
