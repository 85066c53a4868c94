"""``ring`` sections and the ``log`` lines that lead to them, or over connections of their own."""

from __future__ import annotations

from forkproxy.plan import Address, LogTarget, Ring, RingServer
from tests.unit.config.reading import good

TEXT = """global
 log ring@a len 90 format iso local0
 log tcp@127.0.0.1:5140 local1
 log tcp6@[::1] len 2000 format raw local2
 log uxst@/run/log local3
ring a
 description "my ring"
 format rfc5424
 maxlen 100
 size 40k
 timeout connect 5s
 timeout server 10s
 server one 127.0.0.1 log-proto octet-count
 server two unix@/run/x
ring b
 maxlen 80
frontend f
 bind :1
 log ring@b local4
"""


def test_rings() -> None:
    plan = good(TEXT)
    a, tcp, tcp6, unix = plan.global_.log_targets
    servers = (RingServer("one", Address("ipv4", "127.0.0.1", 514), True), RingServer("two", Address("unix", "/run/x")))
    ring = Ring(
        name="a", description="my ring", format="rfc5424", maxlen=100, size_bytes=40960, connect_s=5.0, server_s=10.0, servers=servers
    )
    assert plan.objects["ring/a"] == ring
    assert a == LogTarget(address=None, ring=ring, format="rfc5424", length=90, facility=16, tag="haproxy")
    for target, address, form, length in (
        (tcp, Address("ipv4", "127.0.0.1", 5140), "local", 1024),
        (tcp6, Address("ipv6", "::1", 514), "raw", 2000),
        (unix, Address("unix", "/run/log"), "local", 1024),
    ):
        own = Ring(size_bytes=16384, connect_s=1.0, server_s=5.0, servers=(RingServer("", address),))
        assert (target.address, target.ring, target.format, target.length) == (None, own, form, length)
    [b] = plan.frontends[0].log_targets
    assert b.ring == Ring(name="b", maxlen=80, size_bytes=16384) and (b.format, b.length, b.facility) == ("raw", 80, 20)
