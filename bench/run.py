"""The command: runs cases, alternates the sides, prints and records the table."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.cases import CASES, SETS, Case
from bench.processes import LOAD_CORE, PROXY_CORE, Sink, Usage, free_port, start, start_origin, stop, wait_for_port

HERE = Path(__file__).resolve().parent


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

    @property
    def cpu_us(self) -> float:
        """User and system time per request."""
        return self.user_us + self.system_us


@dataclass(slots=True)
class Side:
    """A proxy that is running for one case."""

    name: str
    process: subprocess.Popen[bytes]
    port: int


def command_of(side: str, forkproxy: str) -> list[str]:
    """The words that start a side; the configuration file's name follows them."""
    if side.startswith("haproxy"):
        return [shutil.which("haproxy") or "/usr/sbin/haproxy", "-q", "-db", "-f"]
    words = shlex.split(forkproxy) if forkproxy else [sys.executable, str(HERE.parent / "bin" / "forkproxy")]
    return [*words, "-q", "-db", "-f"]


def wrk(case: Case, port: int, seconds: float, directory: Path) -> tuple[int, float, float, float, int]:
    """Run wrk: (requests, seconds, p50 µs, p99 µs, errors)."""
    script = directory / f"{case.name}.lua"
    parts = [(HERE / "lua" / f"{name}.lua").read_text() for name in ("result", case.lua) if name]
    script.write_text("\n".join(parts))
    words = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{case.connections}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
    if case.close:
        words += ["-H", "Connection: close"]
    done = subprocess.run([*words, f"http://127.0.0.1:{port}{case.path}"], capture_output=True, text=True, check=True, timeout=seconds + 60)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            requests, duration_us, p50, p99, errors = line.split()[1:]
            return int(requests), int(duration_us) / 1e6, float(p50), float(p99), int(errors)
    raise RuntimeError(f"wrk says nothing of use: {done.stdout}{done.stderr}")


def measure(case: Case, side: Side, seconds: float, sink: Sink, directory: Path) -> Sample:
    """One run."""
    before, lines = Usage.of(side.process.pid), sink.lines
    requests, duration, p50, p99, errors = wrk(case, side.port, seconds, directory)
    time.sleep(0.1)  # what is in flight when wrk goes is the proxy's to finish
    after = Usage.of(side.process.pid)
    if side.process.poll() is not None or not requests:
        raise RuntimeError(f"{side.name} served nothing in {case.name}")
    return Sample(
        requests, requests / duration, (after.user_us - before.user_us) / requests, (after.system_us - before.system_us) / requests,
        p50, p99, errors, sink.lines - lines, after.rss_bytes, after.pss_bytes,
    )  # fmt: skip


@contextlib.contextmanager
def running(case: Case, names: Sequence[str], forkproxy: str, origin_port: int, sink: Path, directory: Path) -> Iterator[list[Side]]:
    """Both proxies for one case; ended at the end, whatever happens."""
    sides: list[Side] = []
    try:
        for n, name in enumerate(names):
            port = free_port()
            config = directory / f"{case.name}-{n}.cfg"
            config.write_text(case.config(port, origin_port, str(sink)))
            log = directory / f"{case.name}-{n}.log"
            process = start([*command_of(name, forkproxy), str(config)], PROXY_CORE, log)
            sides.append(Side(name, process, port))
            try:
                wait_for_port(port, process)
            except RuntimeError as error:
                raise RuntimeError(f"{name}: {error}\n{log.read_text(errors='replace')}") from None
        yield sides
    finally:
        for side in sides:
            stop(side.process)


@contextlib.contextmanager
def surroundings() -> Iterator[tuple[Path, int, Sink]]:
    """A directory, the origin and the log sink; all gone at the end."""
    os.sched_setaffinity(0, {LOAD_CORE})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an end from outside must end the children too
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        sink = Sink(directory / "log")
        sink.start()
        origin, port = start_origin(directory)
        try:
            yield directory, port, sink
        finally:
            stop(origin)
            sink.stop()


def middle(samples: list[Sample]) -> dict[str, float]:
    """Medians of everything."""
    names = ("rate", "cpu_us", "user_us", "system_us", "p50_us", "p99_us", "rss_bytes", "pss_bytes")
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


def _ratio(a: dict[str, float], b: dict[str, float]) -> str:
    cells = [
        f"{b[k] / a[k]:.2f}" if a[k] else "–"
        for k in ("rate", "cpu_us", "user_us", "system_us", "p50_us", "p99_us", "rss_bytes", "pss_bytes")
    ]
    return f"| **ratio** | {cells[0]} | **{cells[1]}** | " + " | ".join(cells[2:]) + " | |"


HEAD = (
    "| | requests/s | CPU µs/request | user µs | system µs | p50 ms | p99 ms | RSS MiB | PSS MiB | errors |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def table(case: Case, names: Sequence[str], medians: list[dict[str, float]]) -> str:
    """The section of one case."""
    rows = [_row(name, m) for name, m in zip(names, medians, strict=True)]
    if len(rows) == 2:
        rows.append(_ratio(*medians))
    logged = ""
    if case.logged:
        parts = (f"{n}: {m['log_lines'] / m['requests']:.3f}" for n, m in zip(names, medians, strict=True))
        logged = f"\nLog lines that arrived per request: {', '.join(parts)}.\n"
    return f"## {case.name}\n\n{case.what}; {case.connections} connections.\n\n{HEAD}\n" + "\n".join(rows) + "\n" + logged


def _first_line(command: list[str]) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.partition("\n")[0]
    return "unknown"


def facts(names: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Where and how it was measured."""
    cpu = next((x.partition(":")[2].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")), "")
    git = ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]
    return {
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "sides": list(names),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "cpu": cpu,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "haproxy": _first_line(["haproxy", "-v"]).partition(" - ")[0],
        "commit": _first_line(git),
        "load": list(os.getloadavg()),
    }


def compare(options: argparse.Namespace) -> int:
    """The side-by-side run."""
    chosen = [name for word in options.cases.split(",") for name in SETS.get(word, (word,))]
    unknown = [name for name in chosen if name not in CASES]
    if unknown:
        print(f"unknown case: {', '.join(unknown)}; there are {', '.join((*SETS, *CASES))}", file=sys.stderr)
        return 2
    names = options.sides.split(",")
    about = facts(names, options)
    sections: list[str] = []
    numbers: dict[str, Any] = {}
    failed = False
    with surroundings() as (directory, origin_port, sink):
        for name in chosen:
            case = CASES[name]
            samples: list[list[Sample]] = [[] for _ in names]
            try:
                with running(case, names, options.forkproxy, origin_port, sink.path, directory) as sides:
                    for side in sides:
                        measure(case, side, min(1.0, options.seconds), sink, directory)  # warm up
                    for _ in range(options.rounds):
                        for k, side in enumerate(sides):
                            samples[k].append(measure(case, side, options.seconds, sink, directory))
            except (RuntimeError, subprocess.SubprocessError) as error:
                failed = True
                sections.append(f"## {name}\n\n{case.what}\n\nFailed: {str(error).partition(chr(10))[0][:200]}\n")
                print(f"## {name}\n\nFailed: {error}\n", flush=True)
                continue
            medians = [middle(s) for s in samples]
            section = table(case, names, medians)
            print(section, flush=True)
            sections.append(section)
            rounds = [[{"cpu_us": s.cpu_us, "rate": s.rate} for s in side_samples] for side_samples in samples]
            numbers[name] = {"medians": medians, "rounds": rounds}
    if options.record:
        record(options, about, sections, numbers)
    return 1 if failed else 0


def record(options: argparse.Namespace, about: dict[str, Any], sections: list[str], numbers: dict[str, Any]) -> None:
    """Write the table and the numbers to ``results/``."""
    cases = options.cases.replace(",", "+")[:60] + ("-quick" if options.quick else "")
    stem = HERE / "results" / f"{time.strftime('%Y-%m-%d', time.gmtime())}-{cases}.md"
    stem.parent.mkdir(exist_ok=True)
    intro = (
        f"# {' and '.join(about['sides'])}, {about['date']}\n\n"
        f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, Python {about['python']}, {about['haproxy']}; "
        f"commit {about['commit']}; {about['rounds']} rounds of {about['seconds']:g} s, alternating, medians; "
        f"load average before: {about['load'][0]:.2f}. Proxy on core {PROXY_CORE}; load, origin and log sink on core {LOAD_CORE}. "
        "CPU is that of the whole process tree. The ratio is the second row by the first.\n\n"
    )
    stem.write_text(intro + "\n".join(sections))
    stem.with_suffix(".json").write_text(json.dumps({"about": about, "cases": numbers}, indent=1) + "\n")
    print(f"recorded in {stem.relative_to(HERE.parent)} and .json")


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="forkproxy and haproxy side by side")
    parser.add_argument("what", nargs="?", choices=("compare", "profile"), default="compare")
    parser.add_argument("--cases", default="all", help=f"comma-separated: {', '.join((*SETS, *CASES))}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a run")
    parser.add_argument("--quick", action="store_true", help="one round of two seconds")
    parser.add_argument("--sides", default="haproxy,forkproxy", help="what runs; haproxy,haproxy shows the noise")
    parser.add_argument("--forkproxy", default="", help="the command that starts forkproxy (default: bin/forkproxy of this checkout)")
    parser.add_argument("--no-record", dest="record", action="store_false", help="only print")
    parser.add_argument("--output", default="", help="profile: keep the collapsed stacks in this file")
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.seconds = 1, 2.0
    if options.what == "profile":
        from bench.profile import profile

        return profile(options)
    return compare(options)


if __name__ == "__main__":
    sys.exit(main())
