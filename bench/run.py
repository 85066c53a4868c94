"""The command: runs cases, alternates the sides, prints and records the tables."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import idle, load, paced, scaling, steady
from bench.cases import CASES, ROWS, SETS
from bench.processes import LOAD_CORE, PROXY_CORE
from bench.sides import HERE, Ways, surroundings
from bench.table import table

MEASURES = {"load": load.measure, "idle": idle.measure, "paced": paced.measure, "scaling": scaling.measure, "steady": steady.measure}
TOGETHER = {"load": load.together, "steady": steady.together}


def _first_line(command: list[str]) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.partition("\n")[0]
    return "unknown"


def interpreter(ways: Ways) -> str:
    """The version of the Python that forkproxy runs on, which need not be ours: a checkout goes over to its virtual environment's."""
    words, _ = ways.command("forkproxy")
    told = subprocess.run([*words[: words.index("-q")], "-vv"], capture_output=True, text=True, timeout=20, check=False).stdout
    return next((line.split()[2] for line in told.splitlines() if line.startswith("Python:")), "unknown")


def facts(ways: Ways, options: argparse.Namespace) -> dict[str, Any]:
    """Where and how it was measured."""
    cpu = next((x.partition(":")[2].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")), "")
    return {
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "sides": list(ways.names),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "cpu": cpu,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": interpreter(ways),
        "haproxy": _first_line(["haproxy", "-v"]).partition(" - ")[0],
        "commit": _first_line(["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]),
        "load": list(os.getloadavg()),
    }


def chosen(words: Sequence[str]) -> list[str]:
    """The cases that words (cases or groups of them) name, each once. Raises ValueError."""
    found = dict.fromkeys(name for word in words for name in SETS.get(word, (word,)))
    unknown = [name for name in found if name not in CASES]
    if unknown:
        raise ValueError(f"unknown case: {', '.join(unknown)}; there are {', '.join((*SETS, *CASES))}")
    return list(found)


def grouped(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Cases that a row compares with each other are measured in turn, all others by themselves."""
    rows = [row.cases for row in ROWS if row.figure == "flat" and set(row.cases) <= set(names)]
    return list(dict.fromkeys(next((row for row in rows if name in row), (name,)) for name in names))


def compare(options: argparse.Namespace) -> int:
    """The side-by-side run."""
    try:
        names = chosen(options.cases)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    ways = Ways(tuple(options.sides.split(",")), options.forkproxy, options.package)
    about = facts(ways, options)
    sections: list[str] = []
    numbers: dict[str, Any] = {}
    failed = False
    with surroundings() as world:
        for group in grouped(names):
            try:
                case = CASES[group[0]]
                if len(group) > 1:
                    made = TOGETHER[case.kind]([CASES[name] for name in group], ways, world, options.rounds, options.seconds)
                else:
                    made = [MEASURES[case.kind](case, ways, world, options.rounds, options.seconds)]
            except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:
                failed = True
                made = []
                sections.append(f"## {', '.join(group)}\n\nFailed: {str(error).partition(chr(10))[0][:300]}\n")
                print(error, file=sys.stderr)
            for name, (section, found) in zip(group, made, strict=False):
                numbers[name] = found
                print(section, flush=True)
                sections.append(section)
    summary = table(ways.names, numbers)
    print(summary)
    if options.record:
        record(options, about, [summary, *sections] if summary else sections, numbers)
    return 1 if failed else 0


def record(options: argparse.Namespace, about: dict[str, Any], sections: list[str], numbers: dict[str, Any]) -> None:
    """Write the table and the numbers to ``results/``."""
    cases = "+".join(options.cases)[:60] + ("-quick" if options.quick else "")
    stem = HERE / "results" / f"{time.strftime('%Y-%m-%d', time.gmtime())}-{cases}.md"
    stem.parent.mkdir(exist_ok=True)
    intro = (
        f"# {' and '.join(about['sides'])}, {about['date']}\n\n"
        f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, Python {about['python']}, {about['haproxy']}; "
        f"commit {about['commit']}; {about['rounds']} rounds of {about['seconds']:g} s, alternating, medians; "
        f"load average before: {about['load'][0]:.2f}. Proxy on core {PROXY_CORE}; load, origin and log sink on core {LOAD_CORE}. "
        "CPU is that of the whole process tree. A ratio is by the first side; ✗: more than wanted.\n\n"
    )
    stem.write_text(intro + "\n".join(sections))
    stem.with_suffix(".json").write_text(json.dumps({"about": about, "cases": numbers}, indent=1) + "\n")
    print(f"recorded in {stem.relative_to(HERE.parent)} and .json")


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="forkproxy and haproxy side by side", epilog=f"cases: {', '.join((*SETS, *CASES))}"
    )
    parser.add_argument("cases", nargs="*", default=["wanted"], metavar="CASE", help="cases or groups of them (default: wanted)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a run")
    parser.add_argument("--quick", action="store_true", help="one round of two seconds")
    parser.add_argument("--sides", default="", help="what runs (default: haproxy,forkproxy); haproxy,haproxy shows the noise")
    parser.add_argument("--package", default="", help="a directory with the compiled build: it runs as a third side, named compiled")
    parser.add_argument("--forkproxy", default="", help="the command that starts forkproxy (default: bin/forkproxy of this checkout)")
    parser.add_argument("--no-record", dest="record", action="store_false", help="only print")
    parser.add_argument("--profile", action="store_true", help="the first case for forkproxy alone, sampled by py-spy")
    parser.add_argument("--output", default="", help="with --profile: keep the collapsed stacks in this file")
    options = parser.parse_args(argv)
    options.sides = options.sides or ("haproxy,forkproxy,compiled" if options.package else "haproxy,forkproxy")
    if options.quick:
        options.rounds, options.seconds = 1, 2.0
    if options.profile:
        from bench.profile import profile

        return profile(options)
    return compare(options)


if __name__ == "__main__":
    sys.exit(main())
