"""Sdist and wheel: complete, of one version, and what is installed from them into an empty environment serves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from forkproxy import __version__
from tests.ports import free_ports
from tests.system.conftest import ROOT, eventually, get, hello, refused

pytestmark = pytest.mark.system


def run(*words: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | env
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=100, check=False, cwd=cwd, env=environ)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel that was built from it."""
    directory = tmp_path_factory.mktemp("distribution")
    unwanted = shutil.ignore_patterns(".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, directory / "source", ignore=unwanted, symlinks=True)
    done = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, directory / "source", cwd=directory)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def test_both_are_complete(built: Path) -> None:
    with tarfile.open(built / f"forkproxy-{__version__}.tar.gz") as archive:
        inside = {member.name.partition("/")[2] for member in archive.getmembers()}
    listed = run("git", "ls-files", "-z", cwd=ROOT)
    if listed.returncode == 0:
        files = {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}
        assert files - inside == {".gitignore"}
    with zipfile.ZipFile(built / f"forkproxy-{__version__}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
        metadata = wheel.read(f"forkproxy-{__version__}.dist-info/METADATA").decode()
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "forkproxy").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert {name for name in names if ".dist-info/" not in name} == package
    assert f"\nVersion: {__version__}\n" in metadata and "\nRequires-Dist: psutil" in metadata


def test_what_is_installed_serves(built: Path, tmp_path: Path) -> None:
    """By the Python of the distribution where there is one with venv, in an environment with nothing else."""
    home = built / "environment"
    pythons = ("/usr/bin/python3", os.path.realpath(sys.executable))
    can = "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))"
    python = next((python for python in pythons if Path(python).exists() and run(python, "-c", can, cwd=tmp_path).returncode == 0), None)
    if python is None:
        pytest.skip("needs a Python that can make environments")
    assert run(python, "-m", "venv", home, cwd=tmp_path).returncode == 0
    wheel = built / f"forkproxy-{__version__}-py3-none-any.whl"
    done = run(home / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=tmp_path)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip("the packages it needs cannot be had")
    assert done.returncode == 0, done.stderr
    program = home / "bin" / "forkproxy"
    assert f"(forkproxy {__version__})" in run(program, "-v", cwd=tmp_path).stdout
    assert run(program, "--dump-keywords", cwd=tmp_path).stdout.count("\n") > 1000
    for example in sorted((ROOT / "etc").glob("*.cfg")):
        assert run(program, "-c", "-dW", "-f", example, cwd=tmp_path).returncode == 0
    assert run(home / "bin" / "python", "-m", "forkproxy.manual", tmp_path / "manual", cwd=tmp_path).returncode == 0
    port, other = free_ports(2)
    more = f"frontend page\n  bind 127.0.0.1:{other}\n  stats enable\n  stats uri /\n"
    (tmp_path / "f.cfg").write_text(hello(port, more=more + "  http-request use-service prometheus-exporter if { path /metrics }\n"))
    process = subprocess.Popen([program, "-W", "-f", tmp_path / "f.cfg"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: not refused(port) and not refused(other), "it serves")
        assert get(port) == (200, b"hello")
        status, page = get(other)
        assert status == 200 and b"<style>" in page  # css and script are in the package
        assert b"haproxy_process_" in get(other, "/metrics")[1]
    finally:
        process.terminate()
        assert process.wait(15) == 0
