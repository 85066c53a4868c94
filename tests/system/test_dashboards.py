"""What ``etc/`` holds for Prometheus and Grafana: expressions are valid, alerts fire when they should. That they ask for what there is:
``test_prometheus``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.peers import needs

ETC = Path(__file__).resolve().parents[2] / "etc"
RULES = ETC / "prometheus" / "forkproxy.rules.yml"
DASHBOARD = json.loads((ETC / "grafana" / "forkproxy.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]

pytestmark = [pytest.mark.system, needs("promtool")]


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
