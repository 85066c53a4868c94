"""Which forkproxy is tested: the checkout, or a compiled one (``make compiled``)."""

from __future__ import annotations

from forkproxy.net import loop

#: where it is: a module of those that are compiled, if any are
MODULE: str = loop.__file__
COMPILED = not MODULE.endswith(".py")
