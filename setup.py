"""The compiled build, which has to be asked for: the same source through mypyc, for the modules that every request passes. What
mypyc cannot make cheap enough is written a second time, for Cython: net/_carry.pyx (see net/carry.py) and state/_cells.pyx.

    FORKPROXY_COMPILED=1 pip wheel --no-build-isolation --no-deps -w dist .        (what `make compiled` does)

Everything else about the package is in pyproject.toml. A checkout is never compiled in place: what is edited is what runs.
What it brings, why types decide that, and what mypyc does otherwise than Python: docs/decisions/0006-cost-of-a-request.md.
"""

import os
import sys
from pathlib import Path

from setuptools import setup

#: What is compiled besides the modules of the proxy room, by room: what requests pass. What only reads a configuration stays as it is, rare
#: fetches, too: each closure is 500 lines of C. net/connection must not stand here (its class inherits from a C socket: a crash at accept).
ALSO = {
    ".": "clock",
    "balance": "keyed leastconn picker random ring roundrobin",
    "http": "lines message reader cookies",
    "net": "loop logsink poller sockets",
    "rules": "logalias logencode loglines patterns ruleset tables txn types variables web world",
    "rules/actions": "headers rewrite track variables",
    "rules/fetches": "http_cookies http_fields http_line l4 stick",
    "state": "doors frequency ledger rates stickhold stickspec sticktable",
    "wire": "syslog",
    "worker": "turn",
}

#: and what Cython compiles
CYTHON = ["forkproxy/net/_carry.pyx", "forkproxy/state/_cells.pyx"]

extensions = []
# pip asks for the metadata first, in which there is nothing of this: half a minute less
if os.environ.get("FORKPROXY_COMPILED") == "1" and "dist_info" not in sys.argv:
    from Cython.Build import cythonize
    from mypyc.build import mypycify

    proxy = sorted(str(path) for path in Path("forkproxy/proxy").glob("*.py") if path.name != "__init__.py")
    also = [f"forkproxy/{room}/{name}.py" for room, names in ALSO.items() for name in names.split()]
    # of -O2 no difference was measured that was more than noise, and the C compiler takes twice as long for it
    extensions = [*mypycify([*proxy, *also], opt_level="1", debug_level="0"), *cythonize(CYTHON, build_dir="build")]

setup(ext_modules=extensions)
