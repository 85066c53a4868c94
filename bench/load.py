"""As many requests as a proxy can serve, by wrk: cost, rate and latency."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from bench.cases import Case
from bench.probes import check
from bench.processes import LOAD_CORE, Usage, sleeps
from bench.sides import HERE, Side, Ways, World, running

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of wrk against one proxy."""

    requests: int
    rate: float
    user_us: float  # per request
    system_us: float  # per request
    p50_us: float
    p99_us: float
    errors: int
    log_lines: int
    rss_bytes: int
    pss_bytes: int
    wakes: float = 0.0  # of the origin, per request

    @property
    def cpu_us(self) -> float:
        """User and system time per request."""
        return self.user_us + self.system_us


def begin_wrk(case: Case, port: int, seconds: float, directory: Path, cores: int | str = LOAD_CORE) -> subprocess.Popen[str]:
    """Start wrk for so many seconds."""
    script = directory / f"{case.name}.lua"
    parts = [f"ENTRIES = {case.entries}"] + [(HERE / "lua" / f"{name}.lua").read_text() for name in ("result", "browser", case.lua) if name]
    script.write_text("\n".join(parts))
    words = ["taskset", "-c", str(cores), "wrk", "-t1", f"-c{case.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    words += ["-s", str(script)]
    if case.close:
        words += ["-H", "Connection: close"]
    words.append(f"http://127.0.0.1:{port}{case.path}")
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end_wrk(running: subprocess.Popen[str]) -> tuple[int, float, float, float, int]:
    """Wait for wrk: (requests, seconds, p50 µs, p99 µs, errors)."""
    try:
        said, _ = running.communicate(timeout=120)
    finally:
        running.kill()
    for line in said.splitlines():
        if line.startswith("RESULT "):
            requests, duration_us, p50, p99, errors = line.split()[1:]
            return int(requests), int(duration_us) / 1e6, float(p50), float(p99), int(errors)
    raise RuntimeError(f"wrk says nothing of use: {said}")


def wrk(case: Case, port: int, seconds: float, directory: Path, cores: int | str = LOAD_CORE) -> tuple[int, float, float, float, int]:
    """Run wrk."""
    return end_wrk(begin_wrk(case, port, seconds, directory, cores))


def sample(case: Case, side: Side, seconds: float, world: World) -> Sample:
    """One run. Raises RuntimeError when the proxy died, served nothing, or made errors."""
    origin = world.origin.pid
    running = begin_wrk(case, side.port, seconds + case.settle, world.directory)
    if case.settle:  # thousands of clients connect first, which is not what is measured
        time.sleep(case.settle)
    before, lines, served = Usage.of(side.process.pid), world.sink.lines, world.served() if case.settle else 0
    slept = sleeps(origin)
    if case.settle:
        time.sleep(max(0.5, seconds - 0.3))
        after, counted = Usage.of(side.process.pid), world.served() - served - 1
        lines = world.sink.lines - lines
        slept = sleeps(origin) - slept
        requests, duration, p50, p99, errors = end_wrk(running)
    else:
        requests, duration, p50, p99, errors = end_wrk(running)
        counted = requests
        slept = sleeps(origin) - slept
        time.sleep(0.1)  # what is in flight when wrk goes is the proxy's to finish
        after, lines = Usage.of(side.process.pid), world.sink.lines - lines
    if side.process.poll() is not None or counted <= 0:
        raise RuntimeError(f"{side.name} served nothing in {case.name}; wrk: {requests} in {duration:.1f} s, {errors} errors")
    if errors:
        raise RuntimeError(f"{side.name} made {errors} errors in {case.name}, {requests} answers were right")
    return Sample(
        counted, requests / duration, (after.user_us - before.user_us) / counted, (after.system_us - before.system_us) / counted,
        p50, p99, errors, lines, after.rss_bytes, after.pss_bytes, slept / counted,
    )  # fmt: skip


def measure(case: Case, ways: Ways, world: World, rounds: int, seconds: float) -> tuple[str, dict[str, Any]]:
    """A case: every side is asked whether its answers are right, warmed up, and measured in turn. Returns the section and the numbers."""
    return together([case], ways, world, rounds, seconds)[0]


def together(cases: Sequence[Case], ways: Ways, world: World, rounds: int, seconds: float) -> list[tuple[str, dict[str, Any]]]:
    """Cases that are to be compared with each other, each as :func:`measure` does it, but in turn as well: what the machine does
    meanwhile concerns all of them."""

    def one(case: Case, side: Side, length: float) -> Sample:
        return sample(case, side, length, world)

    made = []
    for case, of_case in by_turns(cases, ways, world, rounds, seconds, one):
        medians = [middle(samples) for samples in of_case]
        each = [[{"cpu_us": s.cpu_us, "rate": s.rate, "p99_us": s.p99_us} for s in samples] for samples in of_case]
        made.append((section(case, ways.names, medians), {"medians": medians, "rounds": each}))
    return made


def by_turns(
    cases: Sequence[Case], ways: Ways, world: World, rounds: int, seconds: float, one: Callable[[Case, Side, float], T]
) -> list[tuple[Case, list[list[T]]]]:
    """What ``one`` makes of each case and side, asked for right answers and warmed up, in each round: by case, then by side."""
    with contextlib.ExitStack() as open_:
        taken: list[tuple[Case, list[tuple[Side, list[T]]]]] = []
        for case in cases:
            sides = open_.enter_context(running(case, ways, world))
            for side in sides:
                ready(case, side, world)
                one(case, side, min(1.0, seconds))  # warm up
            taken.append((case, [(side, []) for side in sides]))
        for turn in range(rounds):
            first = turn % len(ways.names)  # nobody always comes after the same one
            for at in [*range(first, len(ways.names)), *range(first)]:
                for case, of_case in taken:  # one behind the other, as a side's cases are what is compared
                    side, samples = of_case[at]
                    samples.append(one(case, side, seconds))
    return [(case, [samples for _, samples in of_case]) for case, of_case in taken]


def ready(case: Case, side: Side, world: World) -> None:
    """The proxy gives right answers and has what the case starts from. Raises RuntimeError."""
    wrong = check(case, side.port, world.sink)
    if wrong:
        raise RuntimeError(f"{side.name} is wrong in {case.name}: " + "; ".join(wrong[:3]))
    if case.entries:
        fill(side, case.entries)


def fill(side: Side, entries: int) -> None:
    """Make entries of the stick table through the runtime CLI, many commands to a connection."""
    at_once = 200
    for begin in range(0, entries, at_once):
        words = [f"set table bench key k{n} data.gpc0 1" for n in range(begin, min(entries, begin + at_once))]
        said = _ask(side, ";".join(words))
        if said.strip():
            raise RuntimeError(f"{side.name}: the table is not filled: {said[:200]!r}")
    found = _ask(side, "show table")
    if f"used:{entries}\n".encode() not in found:
        raise RuntimeError(f"{side.name}: the table was not filled: {found[:200]!r}")


def _ask(side: Side, line: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as cli:
        cli.settimeout(60)
        cli.connect(str(side.place.cli))
        cli.sendall(line.encode() + b"\n")
        found = b""
        while data := cli.recv(65536):
            found += data
        return found


def middle(samples: list[Sample]) -> dict[str, float]:
    """Medians of everything."""
    names = ("rate", "cpu_us", "user_us", "system_us", "p50_us", "p99_us", "rss_bytes", "pss_bytes", "wakes")
    found = {name: float(median(getattr(s, name) for s in samples)) for name in names}
    found["errors"] = sum(s.errors for s in samples)
    found["requests"] = sum(s.requests for s in samples)
    found["log_lines"] = sum(s.log_lines for s in samples)
    return found


def _row(label: str, m: dict[str, float]) -> str:
    lost = f"{m['errors']:.0f}"
    return (
        f"| {label} | {m['rate']:,.0f} | {m['cpu_us']:.1f} | {m['user_us']:.1f} | {m['system_us']:.1f} | {m['p50_us'] / 1000:.2f} | "
        f"{m['p99_us'] / 1000:.2f} | {m['rss_bytes'] / 2**20:.1f} | {m['pss_bytes'] / 2**20:.1f} | {lost} |"
    )


def _ratio(label: str, a: dict[str, float], b: dict[str, float]) -> str:
    cells = [
        f"{b[k] / a[k]:.2f}" if a[k] else "–"
        for k in ("rate", "cpu_us", "user_us", "system_us", "p50_us", "p99_us", "rss_bytes", "pss_bytes")
    ]
    return f"| **{label}** | {cells[0]} | **{cells[1]}** | " + " | ".join(cells[2:]) + " | |"


HEAD = (
    "| | requests/s | CPU µs/request | user µs | system µs | p50 ms | p99 ms | RSS MiB | PSS MiB | errors |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def section(case: Case, names: Sequence[str], medians: list[dict[str, float]]) -> str:
    """The section of one case."""
    rows = [_row(name, m) for name, m in zip(names, medians, strict=True)]
    for name, m in zip(names[1:], medians[1:], strict=True):
        rows.append(_ratio("ratio" if len(names) == 2 else f"ratio of {name}", medians[0], m))
    logged = ""
    if case.logged:
        parts = (f"{n}: {m['log_lines'] / m['requests']:.3f}" for n, m in zip(names, medians, strict=True))
        logged = f"\nLog lines that arrived per request: {', '.join(parts)}.\n"
    woken = ", ".join(f"{n}: {m['wakes']:.2f}" for n, m in zip(names, medians, strict=True))
    logged += f"\nTimes that the origin was woken per request: {woken}.\n"
    return f"## {case.name}\n\n{case.what}; {case.connections} connections.\n\n{HEAD}\n" + "\n".join(rows) + "\n" + logged
