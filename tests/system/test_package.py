"""The Debian package: built by Debian's tools, clean for lintian, complete. That it installs and runs is shown by ``make deb-test``."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from forkproxy import __version__
from tests.peers import needs, rest_needs
from tests.system.conftest import ROOT

pytestmark = pytest.mark.system


def run(*words: str | Path) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=110, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rest_needs("dpkg-checkbuilddeps")
    lacking = subprocess.run(["dpkg-checkbuilddeps"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    if lacking.returncode:
        pytest.skip(lacking.stderr.strip())
    directory = tmp_path_factory.mktemp("deb")
    run("make", "deb", f"DEB={directory}")
    (made,) = directory.glob("*.deb")
    assert made.name == f"forkproxy_{__version__}_all.deb"
    return made


def test_the_package_is_complete(package: Path) -> None:
    entries = [line.split(None, 5) for line in run("dpkg-deb", "-c", package).splitlines()]
    files = {entry[5][1:]: entry[0] for entry in entries if not entry[5].endswith("/")}
    ours = {path.relative_to(ROOT) for path in (ROOT / "forkproxy").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    ours = {path for path in ours if path.suffix not in (".pyx", ".pyi")}  # of which only the compiled build has something
    missing = {path for path in ours if f"/usr/lib/python3/dist-packages/{path}" not in files}
    assert len(ours) > 200 and not missing
    assert not any(name.endswith(".pyc") for name in files)  # made when it is installed
    for name in (
        "/etc/default/forkproxy", "/etc/forkproxy/forkproxy.cfg", "/etc/logrotate.d/forkproxy", "/etc/rsyslog.d/49-forkproxy.conf",
        "/usr/lib/sysusers.d/forkproxy.conf", "/usr/lib/tmpfiles.d/forkproxy.conf", "/usr/share/bash-completion/completions/forkproxy",
        "/usr/share/zsh/vendor-completions/_forkproxy", "/usr/share/man/man1/forkproxy.1.gz", "/usr/share/man/man5/forkproxy.cfg.5.gz",
        "/usr/share/man/man7/forkproxy-cli.7.gz", "/usr/share/doc/forkproxy/examples/edge-http.cfg",
    ):  # fmt: skip
        assert name in files, name
    assert files["/usr/bin/forkproxy"] == "-rwxr-xr-x"
    assert "/lib/systemd/system/forkproxy.service" in files or "/usr/lib/systemd/system/forkproxy.service" in files


def test_what_dpkg_is_told(package: Path, tmp_path: Path) -> None:
    run("dpkg-deb", "-e", package, tmp_path)
    assert sorted((tmp_path / "conffiles").read_text().split()) == [
        "/etc/default/forkproxy", "/etc/forkproxy/forkproxy.cfg", "/etc/logrotate.d/forkproxy", "/etc/rsyslog.d/49-forkproxy.conf"
    ]  # fmt: skip
    depends = run("dpkg-deb", "-f", package, "Depends")
    assert {"python3", "python3-prometheus-client", "python3-psutil", "python3-setproctitle"} <= set(re.findall(r"[\w-]+", depends))
    installed = (tmp_path / "postinst").read_text()
    assert "py3compile -p forkproxy" in installed and "systemd-sysusers" in installed and "deb-systemd-helper enable" in installed
    for script in ("postinst", "prerm", "postrm"):
        run("sh", "-n", tmp_path / script)


def test_the_unit_starts_the_package(package: Path, tmp_path: Path) -> None:
    run("dpkg-deb", "-x", package, tmp_path)
    (unit,) = tmp_path.rglob("forkproxy.service")
    text = unit.read_text()
    assert "/opt/" not in text and text.startswith("[Unit]\n") and text.count("/usr/bin/forkproxy -Ws -f $CONFIG") == 2


@needs("lintian")
def test_lintian_finds_nothing(package: Path) -> None:
    assert not run("lintian", "--fail-on", "error,warning", package)
