"""Values of the plan over the control channel: what comes out is what went in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from forkproxy.plan import Address, Check, Foreign, Server
from forkproxy.proxy.portable import pack, unpack


@pytest.mark.parametrize(
    "value",
    [
        None, True, 7, -1.5, "text", b"bytes \xff", (), (1, "a", b"b", ("nested",)), {"name": b"x", "more": {"a": (1,)}},
        Address("unix", "/s", kind="dgram"),
        Server(name="s", address=Address("ipv6", "::1", 80), backend="b", id=3, cookie=b"\xe9", options={"proxy_v2": ("ssl", b"x")},
               foreign=Foreign("header", header=b"x-client"), source=Address("ipv4", "10.0.0.1"), slowstart_s=1.5),
    ],
)  # fmt: skip
def test_there_and_back(value: Any) -> None:
    there = json.loads(json.dumps(pack(value)))
    assert unpack(there) == value and type(unpack(there)) is type(value)


def test_what_is_left_out_and_what_cannot_be_sent() -> None:
    one = Server(name="s", address=Address("ipv4", "127.0.0.1", 1), backend="b", id=1, check=Check(options={"send": print}), agent=Check())
    assert unpack(pack(one, ("check", "agent"))) == Server(name="s", address=one.address, backend="b", id=1)
    for wrong in (one, print, {1, 2}, object()):
        with pytest.raises(TypeError):
            pack(wrong)
