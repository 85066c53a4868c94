"""What large files cost to read: a configuration of 20,000 lines, a map of 1,000,000 entries. Run ``python -m bench.micro_files``.

Goals (issue "The rule language"): the configuration in under 3 s; the map usable, in a worker too: what a fork has to copy of it is counted
after every entry was looked up once.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from forkproxy.config.load import load
from forkproxy.config.options import Options
from forkproxy.rules.patternfiles import PatternFiles

_MB = 1 << 20


def timed(name: str, fn: Callable[[], Any]) -> Any:
    """Print how long ``fn`` takes, and give what it gives."""
    began = time.process_time()
    found = fn()
    print(f"{name:<66} {time.process_time() - began:8.2f} s")
    return found


def configuration() -> str:
    """20,000 lines as a large site has them: hosts to backends, ACLs, header rules, servers with checks."""
    hosts = 4000
    lines = ["defaults", " mode http", " timeout connect 1s", " timeout client 1s", " timeout server 1s", "frontend f", " bind 127.0.0.1:1"]
    for i in range(hosts):
        lines += [f" acl host{i} hdr(host) -i www{i}.example.com", f" use_backend b{i % 2000} if host{i} {{ path_beg /p{i} }}"]
    lines += [f" http-request set-header X-Rule{i} %[src] if {{ path /r{i} }}" for i in range(1993)]
    for i in range(2000):
        lines += [f"backend b{i}", " balance leastconn", " option httpchk GET /health"]
        lines += [f" server s{j} 192.0.2.{j}:80 check" for j in range(2)]
    return "\n".join(lines) + "\n"


def private_bytes() -> int:
    """Memory that this process shares with nobody."""
    full = psutil.Process().memory_full_info()
    return int(full.uss)


def worker(files: PatternFiles, name: str) -> None:
    """What a forked process needs beyond what it shares, after it looked up every entry."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        began = private_bytes()
        find = files.get(name, True, "map", "bench").view("str").find
        began_s = time.process_time()
        missed = sum(find(b"host%d.example.com" % i) is None for i in range(1_000_000))
        took_s = time.process_time() - began_s
        os.write(write, b"%d %d %d" % (private_bytes() - began, missed, took_s * 1e9))
        os._exit(0)
    os.waitpid(pid, 0)
    grown, missed, took_ns = map(int, os.read(read, 100).split())
    assert not missed
    print(f"{'a worker looks every entry up: memory of its own':<66} {grown / _MB:8.1f} MB")
    print(f"{'  a look-up, its key made anew':<66} {took_ns / 1e9:8.2f} µs")


def main() -> None:
    with tempfile.TemporaryDirectory() as where:
        file = Path(where) / "large.cfg"
        text = configuration()
        file.write_text(text)
        result = timed(f"a configuration of {text.count(chr(10)):,} lines", lambda: load([str(file)], Options()))
        assert result.plan is not None, result.diagnostics.lines()[:3]
        del result
        gc.collect()

        table = Path(where) / "map"
        table.write_text("".join(f"host{i}.example.com be{i % 1000}\n" for i in range(1_000_000)))
        before = private_bytes()
        files = PatternFiles()
        listed = timed("a map of 1,000,000 entries: read", lambda: files.get(str(table), True, "map", "bench"))
        timed("  made ready to be asked", lambda: listed.view("str").find(b"host7.example.com"))
        gc.collect()
        print(f"{'  its memory':<66} {(private_bytes() - before) / _MB:8.1f} MB")
        assert files.get(str(table), True, "map", "another rule") is listed, "a second rule shares it"
        gc.freeze()
        worker(files, str(table))
        files.settle()
        files.apply([["prepare", 0]])
        ops = [["add", 0, listed.newest, f"host{i}.example.com", f"be{i % 7}"] for i in range(1_000_000)]
        timed("  another version of it, entry by entry", lambda: files.apply(ops))
        timed("  that one committed", lambda: files.apply([["commit", 0, listed.newest]]))
        assert listed.view("str").find(b"host8.example.com").value == b"be1"


if __name__ == "__main__":
    main()
