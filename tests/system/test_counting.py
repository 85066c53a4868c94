"""Frontends that share a backend and its servers: whoever came, each is counted where it belongs."""

from __future__ import annotations

from collections.abc import Callable

from tests.system.conftest import DEFAULTS, Proxy, eventually, get
from tests.system.tcp import metric


def test_two_frontends_in_turn_at_one_server(serve: Callable[..., Proxy], ports: list[int]) -> None:
    one, other, metrics = ports
    serve(f"""
global
  nbthread 1
  stats-endpoint 127.0.0.1:{metrics}
{DEFAULTS}
frontend one
  bind 127.0.0.1:{one}
  default_backend b
frontend other
  bind 127.0.0.1:{other}
  default_backend b
backend b
  server s 127.0.0.1:{metrics}
""")
    for port in (one, other, one, one, other, one):
        assert get(port, "/none")[0] == 404
    eventually(lambda: metric(metrics, "haproxy_backend_http_responses_total", proxy="b", code="4xx") == 6, "all are counted")
    assert metric(metrics, "haproxy_frontend_http_requests_total", proxy="one") == 4
    assert metric(metrics, "haproxy_frontend_http_requests_total", proxy="other") == 2
    assert metric(metrics, "haproxy_server_http_responses_total", proxy="b", code="4xx") == 6
    assert metric(metrics, "haproxy_frontend_bytes_in_total", proxy="one") == 2 * metric(
        metrics, "haproxy_frontend_bytes_in_total", proxy="other"
    )
