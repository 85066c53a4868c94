"""What rules and log formats cost, per call, on a transaction of the unit tests: run ``python -m bench.micro_rules``.

Goals (issue "The rule language"): HTTPLOG 3 µs, four typical rules 3 µs together, 1,000 use_backend lines 20 µs, a look-up among
100,000 networks 2 µs.
"""

from __future__ import annotations

import random
import tempfile
import time
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from forkproxy.rules.acl import compile_acl
from forkproxy.rules.context import RuleContext
from forkproxy.rules.logformat import CLF, HTTPLOG, TCPLOG, compile_format
from forkproxy.rules.patterns import Entry, build_index
from forkproxy.rules.ruleset import fold_use_backend, parse_rule, parse_use_backend
from forkproxy.rules.types import Addr
from forkproxy.rules.words import Words
from tests.unit.rules.support import make_txn

RAW = (
    b"GET /static/img/logo.png?v=12 HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101\r\n"
    b"Accept: text/html,application/xhtml+xml\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n"
    b"Cookie: session=0123456789abcdef; theme=dark\r\nReferer: https://www.example.com/\r\n\r\n"
)


def measure(name: str, fn: Callable[[], Any], number: int = 2_000) -> None:
    """Print the best of many short runs in microseconds per call: what else the machine does falls into some of them only."""
    best = min(timeit.repeat(fn, number=number, repeat=100, timer=time.process_time)) / number * 1e6
    print(f"{name:<58} {best:7.2f} µs")


def main() -> None:
    txn = make_txn(RAW)
    ctx = RuleContext(name="fe")
    for name, text in (("HTTPLOG", HTTPLOG), ("TCPLOG", TCPLOG), ("CLF", CLF)):
        render = compile_format(text, ctx, style="log").render
        measure(f"log line {name}", partial(render, txn))

    with tempfile.TemporaryDirectory() as where:
        table = Path(where) / "map"
        table.write_text("".join(f"host{i}.example.com be{i}\n" for i in range(1000)) + "www.example.com be-www\n")
        ctx.acls["is_host"] = [compile_acl(Words.of("hdr(host) -i www.example.com example.com"), ctx)]
        ctx.acls["is_static"] = [compile_acl(Words.of("path_beg /static /images /css"), ctx)]
        host = parse_rule("http-req", Words.of("deny if !is_host"), ctx).step
        path = parse_rule("http-req", Words.of("set-log-level silent if is_static"), ctx).step
        header = parse_rule("http-req", Words.of("set-header X-Client %[src]"), ctx).step
        choose = fold_use_backend([parse_use_backend(Words.of(f"%[hdr(host),lower,map({table},none)]"), ctx)])
        assert choose is not None

        req = txn.req
        assert req is not None
        fields, lower = req.fields_raw, "\n" + req.fields_raw.lower().decode("latin-1")

        def four() -> None:
            req.fields_raw, req.added, req._lower, req.changed = fields, b"", lower, False  # as the request came
            host(txn)
            path(txn)
            header(txn)
            choose(txn)

        assert choose(txn) == "be-www"
        measure("host ACL", lambda: host(txn))
        measure("path ACL", lambda: path(txn))

        def one_header() -> None:
            req.fields_raw, req.added, req._lower, req.changed = fields, b"", lower, False
            header(txn)

        measure("set-header X-Client %[src]", one_header)
        measure("use_backend by map", lambda: choose(txn))
        measure("these four together", four)

    lines = [parse_use_backend(Words.of(f"b{i} if {{ hdr(host) -i h{i}.com w{i}.com }}"), ctx) for i in range(999)]
    lines.append(parse_use_backend(Words.of("b999 if { hdr(host) -i www.example.com }"), ctx))
    fold = fold_use_backend(lines)
    assert fold is not None and fold(txn) == "b999"
    measure("1,000 use_backend … if { hdr(host) -i … }, the last", lambda: fold(txn))

    rng = random.Random(1)
    nets = [Entry(Addr(packed=rng.getrandbits(32).to_bytes(4, "big")).text.encode() + b"/%d" % rng.randint(12, 32)) for _ in range(100_000)]
    find = build_index("ip", nets)
    probe = Addr("203.0.113.77")
    measure("one address among 100,000 networks", lambda: find(probe))


if __name__ == "__main__":
    main()
