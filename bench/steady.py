"""What a request costs at one rate, whoever asks: a few clients often, or thousands of them seldom. Open loop, as ``paced``.

The rows of ``load`` ask again as soon as they are answered: with more clients there are more requests under way as well, as many as there
are clients. Here nothing but the number of connections differs.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from statistics import median
from typing import Any

from bench.cases import Case
from bench.load import by_turns
from bench.paced import command
from bench.processes import Usage
from bench.sides import HERE, Side, Ways, World

#: Requests a second: what haproxy can do with 4,096 clients (some 10,500), too. Workers are busy for a third to three quarters of the time.
RATE = 9_000.0


def sample(case: Case, side: Side, seconds: float) -> dict[str, float]:
    """One run, after one in which each connection asked at least once. Raises RuntimeError when an answer was wrong."""
    warm = max(0.5, 2 * case.connections / RATE)
    words = [*command(side.port, RATE, seconds, case.connections), f"{warm:g}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=HERE.parent) as load:
        assert load.stdout is not None
        marks = {}
        # by line: what it costs that connections begin before and end behind is not a request's
        for line in load.stdout:
            if line in ("begun\n", "done\n"):
                marks[line.strip()] = Usage.of(side.process.pid)
            else:
                count, wrong, p50, p99, _ = (float(word) for word in line.split())
    if load.returncode or len(marks) < 2:
        raise RuntimeError(f"{case.name}: the load ended with {load.returncode}")
    if wrong:
        raise RuntimeError(f"{side.name} in {case.name}: {wrong:.0f} of {count:.0f} requests went wrong")
    user, system = ((getattr(marks["done"], name) - getattr(marks["begun"], name)) / count for name in ("user_us", "system_us"))
    return {"cpu_us": user + system, "user_us": user, "system_us": system, "p50_us": p50, "p99_us": p99, "rate": count / seconds}


def measure(case: Case, ways: Ways, world: World, rounds: int, seconds: float) -> tuple[str, dict[str, Any]]:
    """One case by itself."""
    return together([case], ways, world, rounds, seconds)[0]


def together(cases: Sequence[Case], ways: Ways, world: World, rounds: int, seconds: float) -> list[tuple[str, dict[str, Any]]]:
    """Cases that are to be compared with each other."""
    made = []
    for case, of_case in by_turns(cases, ways, world, rounds, seconds, sample):
        medians = [{key: float(median(s[key] for s in samples)) for key in samples[0]} for samples in of_case]
        made.append((section(case, ways.names, medians), {"medians": medians, "rounds": of_case}))
    return made


def section(case: Case, names: Sequence[str], medians: Sequence[dict[str, float]]) -> str:
    """The section of one case."""
    rows = "".join(
        f"| {name} | {m['cpu_us']:.1f} | {m['user_us']:.1f} | {m['system_us']:.1f} "
        f"| {m['p50_us'] / 1000:.2f} | {m['p99_us'] / 1000:.2f} |\n"
        for name, m in zip(names, medians, strict=True)
    )
    head = f"| at {RATE:,.0f} requests/s | CPU µs/request | user µs | system µs | p50 ms | p99 ms |\n|---|---:|---:|---:|---:|---:|\n"
    return f"## {case.name}\n\n{case.what}; {case.connections} connections.\n\n{head}{rows}"
