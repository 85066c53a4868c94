"""The image and the Kubernetes example of ``etc/``: valid for the programs that read them; their parts agree on ports, paths and times."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from forkproxy import __version__
from forkproxy.arguments import parse
from forkproxy.config.load import load
from forkproxy.plan import Plan

ETC = Path(__file__).resolve().parents[2] / "etc"
DOCKERFILE = (ETC / "docker" / "Dockerfile").read_text()
OBJECTS: dict[str, Any] = {entry["kind"]: entry for entry in yaml.safe_load_all((ETC / "kubernetes" / "forkproxy.yaml").read_text())}
POD = OBJECTS["DaemonSet"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}


def plan_of(path: Path, *words: str) -> Plan:
    """What the file says when it is started with ``words``, which must not be worth a warning."""
    options, _version = parse([*words, "-dW"])
    result = load([str(path)], options)
    assert result.plan is not None and not result.diagnostics.warned, result.diagnostics.lines()
    return result.plan


def ports_of(plan: Plan) -> set[int]:
    """Every TCP port that the file opens."""
    return {bind.address.port for bind in (*plan.global_.stats_endpoint, *(bind for front in plan.frontends for bind in front.binds))}


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """The file of the ConfigMap where the container has it."""
    (name, text), *more = OBJECTS["ConfigMap"]["data"].items()
    assert not more
    volume = {v["name"]: v for v in POD["volumes"]}["configuration"]
    mount = {m["name"]: m for m in CONTAINER["volumeMounts"]}["configuration"]
    assert volume["configMap"]["name"] == OBJECTS["ConfigMap"]["metadata"]["name"]
    assert f"{mount['mountPath']}/{name}" in CONTAINER["args"]
    path = tmp_path / str(name)
    path.write_text(text)
    return path


@pytest.mark.parametrize("kind", sorted(OBJECTS))
def test_objects_follow_the_schema_of_kubernetes(kind: str) -> None:
    kubernetes_validate.validate(OBJECTS[kind], kubernetes_validate.latest_version(), strict=True)


def test_what_the_pod_says_and_what_the_file_says(mounted: Path) -> None:
    plan = plan_of(mounted, *[word for word in CONTAINER["args"] if not word.startswith(("/", "-f"))])
    assert ports_of(plan) == set(PORTS.values())
    assert {bind.address.port for bind in plan.global_.stats_endpoint} == {PORTS["metrics"]}
    for probe, port, path in (
        ("startupProbe", "metrics", "/health"),
        ("livenessProbe", "metrics", "/health"),
        ("readinessProbe", "http", re.findall(r"monitor-uri (\S+)", mounted.read_text())[0]),
    ):
        assert CONTAINER[probe]["httpGet"] == {"port": port, "path": path}
    assert {port["targetPort"] for port in OBJECTS["Service"]["spec"]["ports"]} == set(PORTS)
    grace, hard_stop = POD["terminationGracePeriodSeconds"], re.findall(r"hard-stop-after (\d+)s", mounted.read_text())
    assert int(hard_stop[0]) < grace
    labels = OBJECTS["DaemonSet"]["spec"]["template"]["metadata"]["labels"]
    assert OBJECTS["DaemonSet"]["spec"]["selector"]["matchLabels"] == labels == OBJECTS["Service"]["spec"]["selector"]
    assert CONTAINER["image"] == f"forkproxy:{__version__}"
    assert plan.global_.nbproc <= int(CONTAINER["resources"]["limits"]["cpu"])


def test_the_pod_may_do_little() -> None:
    assert POD["securityContext"]["runAsNonRoot"] and POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    own = CONTAINER["securityContext"]
    assert own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"] and own["capabilities"] == {"drop": ["ALL"]}
    assert min(PORTS.values()) >= 1024  # without capabilities
    assert f"USER {POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}" in DOCKERFILE
    # the only place where something is written has a volume of its own
    assert {m["mountPath"] for m in CONTAINER["volumeMounts"] if not m.get("readOnly")} == {"/run/forkproxy"}


def test_the_image_and_its_file() -> None:
    exposed = {int(port) for port in re.findall(r"^EXPOSE (.*)", DOCKERFILE, re.MULTILINE)[0].split()}
    assert ports_of(plan_of(ETC / "docker" / "forkproxy.cfg", "-W")) == exposed == set(PORTS.values())
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {word for words in copied for word in words.split()}
    allowed = {line[1:] for line in (ETC / "docker" / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sources == allowed and all((ETC.parent / source).exists() for source in sources)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="hadolint comes from PyPI for x86_64 only")
def test_the_dockerfile_follows_the_rules() -> None:
    # DL3008: versions of Debian's packages are those of its release
    words = [str(Path(sys.executable).parent / "hadolint"), "--ignore", "DL3008", "-"]
    done = subprocess.run(words, input=DOCKERFILE, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")
