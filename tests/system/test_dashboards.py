"""What ``etc/`` holds for Prometheus and Grafana: expressions are valid and ask for families that exist, alerts fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from forkproxy.stats import histograms
from forkproxy.stats.columns import Kind
from forkproxy.stats.families import FAMILIES

ETC = Path(__file__).resolve().parents[2] / "etc"
RULES = ETC / "prometheus" / "forkproxy.rules.yml"
DASHBOARD = json.loads((ETC / "grafana" / "forkproxy.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]

pytestmark = [pytest.mark.system, pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (prometheus)")]


def promtool(*words: str | Path) -> str:
    done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_alerts_are_valid_and_fire_when_they_should() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES)
    assert "SUCCESS" in promtool("test", "rules", ETC / "prometheus" / "forkproxy.test.yml")


def test_expressions_of_the_dashboard_are_valid(tmp_path: Path) -> None:
    assert len(EXPRESSIONS) > 30
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")} for number, expression in enumerate(EXPRESSIONS)
    ]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))  # JSON is YAML
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)


def known() -> set[str]:
    """Families of objects, and what names of the process and the workers begin with."""
    names = {family.name for families in FAMILIES.values() for family in families}
    for kind in (Kind.FRONTEND, Kind.BACKEND, Kind.SERVER):
        for what, _, _ in histograms.KINDS:
            names |= {f"{histograms.name(kind, what)}_{part}" for part in ("bucket", "sum", "count")}
    from forkproxy.stats import info, own

    names |= {f"haproxy_process_{suffix}" for suffix, *_ in info._FAMILIES}
    return names | {own.sample_name(family) for family in own.of_service(info.Facts())}


def test_every_family_exists() -> None:
    from forkproxy.state.layout import COUNTERS
    from forkproxy.stats import workers

    source = Path(workers.__file__).read_text()
    cells = {f"forkproxy_worker_{counter.family['W']}" for counter in COUNTERS.values() if "W" in counter.family}
    text = "\n".join([*EXPRESSIONS, *re.findall(r"expr: (.*?)\n(?=        (?:for|labels))", RULES.read_text(), re.S)])
    used = set(re.findall(r"\b((?:haproxy|forkproxy)_[a-z0-9_]+)", text))
    assert len(used) > 30
    missing = {name for name in used - known() - cells if f'"{name}"' not in source}
    assert not missing
