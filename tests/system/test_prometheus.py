"""Metrics from a running service: both doors, both formats, next to HAProxy's exporter, and scraped by a real Prometheus."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.peers import needs
from tests.ports import free_ports
from tests.system.conftest import ROOT, Proxy, eventually, get

pytestmark = pytest.mark.system

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def config(front: int, origin: int, dead: int, endpoint: str = "") -> str:
    return f"""
global
  {endpoint}
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
frontend f
  bind 127.0.0.1:{front}
  option socket-stats
  stick-table type ip size 1k expire 1m store conn_cnt
  http-request track-sc0 src
  http-request use-service prometheus-exporter if {{ path /metrics }}
  default_backend b
backend b
  option httpchk GET /check
  server s1 127.0.0.1:{origin} check inter 300 weight 7
  server s2 127.0.0.1:{dead} check inter 300
  server s3 127.0.0.1:{origin} backup
  server s4 127.0.0.1:{origin} track b/s1
listen o
  bind 127.0.0.1:{origin}
  http-request return status 200
"""


def fetch(port: int, path: str = "/metrics", accept: str = "") -> tuple[str, str]:
    """(content type, body)."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Accept": accept} if accept else {})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def value(body: str, name: str, **labels: str) -> float | None:
    for family in parse_text(body):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return None


def kinds(body: bytes) -> set[bytes]:
    """What objects HAProxy's families in an exposition are about."""
    return set(re.findall(rb"(?m)^# TYPE haproxy_([a-z]+)_", body))


def checked(port: int) -> bool:
    """Whether the first check of s1 has passed."""
    return value(fetch(port)[1], "haproxy_server_check_status", server="s1", state="L7OK") == 1


def answered(port: int, count: int) -> bool:
    """Whether so many answers were counted; a worker counts when an exchange is over, which may be a moment after the client has it."""
    return value(fetch(port)[1], "haproxy_backend_http_responses_total", proxy="b", code="2xx") == count


class Service:
    """forkproxy with both doors, and traffic through it."""

    def __init__(self, proxy: Proxy, front: int, endpoint: int, text: str) -> None:
        self.proxy, self.front, self.endpoint, self.text = proxy, front, endpoint, text


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    front, origin, dead, endpoint = free_ports(4)
    text = config(front, origin, dead, f"stats-endpoint 127.0.0.1:{endpoint}")
    proxy = Proxy(tmp_path, text)
    try:
        proxy.ready()
        proxy.says("Server b/s2 is DOWN")
        yield Service(proxy, front, endpoint, text)
    finally:
        proxy.end()


def test_both_doors_show_traffic_and_checks(service: Service) -> None:
    for _ in range(20):
        assert get(service.front)[0] == 200
    for port in (service.endpoint, service.front):
        eventually(lambda port=port: checked(port), "a check")  # type: ignore[misc]
        kind, body = fetch(port)
        assert kind.startswith("text/plain; version=0.0.4")
        assert value(body, "haproxy_server_status", proxy="b", server="s2", state="DOWN") == 1
        assert value(body, "haproxy_backend_active_servers", proxy="b") == 2
        eventually(lambda port=port: answered(port, 20), "20 answers counted")  # type: ignore[misc]
        assert value(body, "haproxy_server_weight", proxy="b", server="s1") == 7
        requests = value(body, "haproxy_frontend_http_requests_total", proxy="f")
        assert requests is not None and requests >= 20
        for scope in ("frontend", "backend"):
            timed = value(body, f"forkproxy_{scope}_total_time_seconds_count", proxy="f" if scope == "frontend" else "b")
            assert timed is not None and timed >= 20
        workers = [family for family in parse_text(body) if family.name == "forkproxy_worker_resident_memory_bytes"]
        assert {sample.labels["pid"] for sample in workers[0].samples} == {str(worker.pid) for worker in service.proxy.workers}


def test_openmetrics_from_both_doors(service: Service) -> None:
    for port in (service.endpoint, service.front):
        kind, body = fetch(port, accept=OPENMETRICS)
        assert kind.startswith("application/openmetrics-text; version=1.0.0")
        names = {family.name for family in parse_openmetrics(body)}
        assert {"haproxy_frontend_sessions", "haproxy_process_total_warnings", "forkproxy_worker_loop_lag_seconds"} <= names


def test_counters_survive_a_reload_and_reloads_are_counted(service: Service) -> None:
    for _ in range(7):
        get(service.front)
    service.proxy.reload()
    get(service.front)
    eventually(lambda: answered(service.endpoint, 8), "8 answers counted")
    body = fetch(service.endpoint)[1]
    assert value(body, "forkproxy_reloads_total", result="success") == 1
    assert value(body, "haproxy_server_status", proxy="b", server="s2", state="DOWN") == 1
    service.proxy.reload(service.text + "\nnonsense\n")
    assert value(fetch(service.endpoint)[1], "forkproxy_reloads_total", result="failure") == 1


def test_distributions_are_exact_over_workers_and_a_reload(service: Service) -> None:
    """Each answer is in the histograms of those who had a part in it, whichever worker served it, and the buckets add up."""
    for _ in range(30):
        get(service.front)
    service.proxy.reload()
    for _ in range(12):
        get(service.front)
    eventually(lambda: answered(service.endpoint, 42), "42 answers counted")
    body = fetch(service.endpoint)[1]
    for time in ("queue", "connect", "response", "total"):
        name = f"forkproxy_backend_{time}_time_seconds"
        samples = next(family.samples for family in parse_text(body) if family.name == name)
        reached = [sample.value for sample in samples if sample.name == f"{name}_bucket" and sample.labels["proxy"] == "b"]
        assert reached == sorted(reached) and reached[-1] == value(body, f"{name}_count", proxy="b") == 42, name
    servers = [value(body, "forkproxy_server_total_time_seconds_count", proxy="b", server=name) or 0 for name in ("s1", "s2", "s3", "s4")]
    assert sum(servers) == 42 and servers[1:3] == [0, 0]
    total, response = (value(body, f"forkproxy_backend_{time}_time_seconds_sum", proxy="b") for time in ("total", "response"))
    assert total is not None and response is not None and 0 < response <= total < 42


def test_what_dashboards_and_alerts_ask_for_is_there(service: Service) -> None:
    dashboard = json.loads((ROOT / "etc" / "grafana" / "forkproxy.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    asked += re.findall(r"expr: (.*?)\n(?=        (?:for|labels))", (ROOT / "etc" / "prometheus" / "forkproxy.rules.yml").read_text(), re.S)
    used = set(re.findall(r"\b((?:haproxy|forkproxy)_[a-z0-9_]+)", "\n".join(asked)))
    get(service.front)
    eventually(lambda: answered(service.endpoint, 1), "an answer counted")
    shown = {re.split(r"[ {]", line)[0] for line in fetch(service.endpoint)[1].splitlines() if line[:1] != "#"}
    assert len(used) > 30 and used - shown == set()


def test_filters_and_errors(service: Service) -> None:
    names = {family.name for family in parse_text(fetch(service.endpoint, "/metrics?scope=server&metrics=haproxy_server_status")[1])}
    assert names == {"haproxy_server_status"}
    assert get(service.endpoint, "/metrics?scope=nothing")[0] == 400
    assert get(service.endpoint, "/health") == (200, b"ok\n")


@needs("haproxy")
def test_labels_and_values_beside_haproxy(service: Service, tmp_path: Path) -> None:
    """Every sample of HAProxy's exporter about states, limits and weights comes with the same labels and value."""
    front, origin, dead = free_ports(3)
    path = tmp_path / "haproxy.cfg"
    path.write_text(config(front, origin, dead))
    oracle = subprocess.Popen(["haproxy", "-f", str(path), "-db"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        same = ("status", "weight", "active", "backup", "agg_", "queue_limit", "limit_session_rate", "check_code")

        def picture(port: int) -> dict[tuple[str, tuple[tuple[str, str], ...]], str]:
            return {
                (sample.name, tuple(sorted(sample.labels.items()))): str(sample.value)
                for family in parse_text(fetch(port)[1])
                for sample in family.samples
                if (sample.name.startswith(("haproxy_server_", "haproxy_backend_", "haproxy_frontend_", "haproxy_listener_"))
                and any(word in sample.name for word in same)) or sample.name == "haproxy_sticktable_size"
            }

        def families(port: int) -> set[str]:
            return set(re.findall(r"(?m)^# TYPE (haproxy_\w+ \w+)$", fetch(port)[1]))

        def settled(port: int) -> bool:
            try:
                body = fetch(port)[1]
            except OSError:
                return False
            states = (("s1", "L7OK"), ("s2", "L4CON"))
            return all(value(body, "haproxy_server_check_status", server=server, state=state) == 1 for server, state in states)

        eventually(lambda: settled(front), "HAProxy's checks")
        eventually(lambda: settled(service.endpoint), "forkproxy's checks")
        theirs, ours = picture(front), picture(service.endpoint)
        assert theirs and {key: ours.get(key) for key in theirs} == theirs
        record = (ROOT / "docs" / "decisions" / "0002-metrics.md").read_text()
        assert families(front) <= set(re.findall(r"(?m)^haproxy_\w+ \w+$", record)), "whatever haproxy has is listed"
        for scope in ("listener", "sticktable", "frontend&scope=server", "&scope=backend", "*", "nope", "global&no-maint"):
            for port in (front, service.endpoint, service.front):
                status, body = get(port, f"/metrics?scope={scope}")
                if port == front:
                    wanted = status, kinds(body)
                else:
                    assert (status, kinds(body)) == wanted, scope
    finally:
        oracle.terminate()
        oracle.wait(10)


@needs("prometheus")
def test_a_real_prometheus_scrapes_it(service: Service, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    targets = f"['127.0.0.1:{service.endpoint}', '127.0.0.1:{service.front}']"
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs: [{{job_name: fp, static_configs: [{{targets: {targets}}}]}}]\n"
    )
    output = (tmp_path / "prometheus.log").open("wb")
    process = subprocess.Popen(
        [
            "prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=output, stderr=output,
    )  # fmt: skip

    def ask(query: str) -> list[dict[str, object]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={quote(query)}", timeout=5) as answer:
                return list(json.load(answer)["data"]["result"])
        except OSError:
            return []

    try:
        for _ in range(5):
            get(service.front)
        eventually(lambda: [r["value"][1] for r in ask("up")] == ["1", "1"], "both targets up", 40)  # type: ignore[index]
        down = eventually(lambda: ask('haproxy_server_status{server="s2",state="DOWN"}==1'), "the state of s2")
        assert len(down) == 2
        assert len(ask("haproxy_process_total_warnings")) == 2
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/targets", timeout=5) as answer:
            active = json.load(answer)["data"]["activeTargets"]
        assert [target["lastError"] for target in active] == ["", ""]
        count = ask(f'count({{__name__=~"haproxy_.*",instance="127.0.0.1:{service.endpoint}"}})')
        assert float(count[0]["value"][1]) > 300  # type: ignore[index]
    finally:
        process.terminate()
        process.wait(15)
        output.close()
