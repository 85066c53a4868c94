"""``python -m bench --profile http-keepalive``: where forkproxy's worker spends its time, sampled by py-spy under load."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from bench.cases import CASES
from bench.load import ready, wrk
from bench.processes import Usage, tree
from bench.run import chosen
from bench.sides import Ways, running, surroundings


def _used(root: int) -> dict[int, int]:
    """Ticks of CPU that each process of a tree has used."""
    return {pid: sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])) for pid in tree(root)}


def _report(raw: Path, top: int = 30) -> None:
    """Print own and cumulated shares per function from collapsed stacks."""
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in raw.read_text().splitlines():
        stack, _, samples = line.rpartition(" ")
        count = int(samples)
        frames = [frame.rpartition(":")[0] or frame for frame in stack.split(";")]
        own[frames[-1]] += count
        for frame in set(frames):
            within[frame] += count
    total = sum(own.values()) or 1
    print(f"{'own %':>7} {'all %':>7}  function")
    for name, found in own.most_common(top):
        print(f"{100 * found / total:7.1f} {100 * within[name] / total:7.1f}  {name}")


def profile(options: argparse.Namespace) -> int:
    """Load forkproxy alone with the first chosen case and sample its worker."""
    spy = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if spy is None:
        print("py-spy is not installed", file=sys.stderr)
        return 2
    case = CASES[chosen(options.cases)[0]]
    ways = Ways(("forkproxy",), options.forkproxy, options.package)
    with surroundings() as world, running(case, ways, world) as (side,):
        ready(case, side, world)
        idle = _used(side.process.pid)
        wrk(case, side.port, 1, world.directory)
        busy = _used(side.process.pid)
        worker = max(idle, key=lambda pid: busy.get(pid, 0) - idle[pid])  # the master was busy before
        raw = world.directory / "stacks"
        seconds = max(2, round(options.seconds))
        before = Usage.of(side.process.pid)
        words = [spy, "record", "-p", str(worker), "-d", str(seconds), "-r", "400", "-f", "raw", "-o", str(raw), "--nonblocking"]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as sampler:
            requests, *_ = wrk(case, side.port, seconds + 1, world.directory)
            _, errors = sampler.communicate(timeout=60)
        after = Usage.of(side.process.pid)
        if not raw.exists():
            print(errors, file=sys.stderr)
            return 1
        user_us, system_us = (after.user_us - before.user_us) / requests, (after.system_us - before.system_us) / requests
        print(f"{case.name}: {user_us:.1f} µs user and {system_us:.1f} µs system time per request")
        _report(raw)
        if options.output:
            shutil.copy(raw, options.output)
            print(f"collapsed stacks in {options.output}")
    return 0
