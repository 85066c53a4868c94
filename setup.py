"""The compiled build, which has to be asked for: the same source through mypyc, for the modules that every request passes.

    FORKPROXY_COMPILED=1 pip wheel --no-build-isolation --no-deps -w dist .        (what `make compiled` does)

Everything else about the package is in pyproject.toml. A checkout is never compiled in place: what is edited is what runs.
"""

import os
from pathlib import Path

from setuptools import setup

#: What is compiled besides the modules of the proxy room. Rules stay closures made by the interpreter.
ALSO = ["forkproxy/http/message.py", "forkproxy/http/reader.py", "forkproxy/net/loop.py", "forkproxy/rules/txn.py"]

extensions = []
if os.environ.get("FORKPROXY_COMPILED") == "1":
    from mypyc.build import mypycify

    proxy = sorted(str(path) for path in Path("forkproxy/proxy").glob("*.py") if path.name != "__init__.py")
    extensions = mypycify([*proxy, *ALSO], opt_level="2")

setup(ext_modules=extensions)
