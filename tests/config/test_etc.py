"""The example configurations load as they are, without a warning, and HAProxy takes them too where it knows what they use."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from forkproxy import cli
from tests.peers import needs

ETC = Path(__file__).resolve().parents[2] / "etc"
FILES = sorted(ETC.rglob("*.cfg"))
#: forkproxy's own keywords
OURS = ("stats-endpoint",)


def test_there_are_examples() -> None:
    assert {"quickstart.cfg", "edge-http.cfg", "tcp.cfg", "maintenance.cfg", "migration.cfg"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_it_loads_without_a_word(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-c", "-dW", "-f", str(path)]) == 0
    assert capfd.readouterr() == ("", "")


def test_the_file_of_the_package_loads_without_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As it is, and with the example in it put into use; as a user that every system has."""
    text = (ETC.parent / "debian" / "forkproxy.cfg").read_text()
    for name in ("user", "group"):
        assert f"    {name} forkproxy\n" in text
        text = text.replace(f"    {name} forkproxy\n", f"    {name} root\n")
    inside = text.replace("\n#frontend", "\nfrontend").replace("\n#backend", "\nbackend")
    for variant in (text, inside.replace("\n#    ", "\n    ")):
        (tmp_path / "f.cfg").write_text(variant)
        assert cli.main(["-c", "-dW", "-f", str(tmp_path / "f.cfg")]) == 0
        assert capfd.readouterr() == ("", "")
    assert variant.count("\nfrontend ") == 2 and variant.count("bind ") == 2


@pytest.mark.system
@needs("haproxy")
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_haproxy_takes_it_too(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    copy.write_text("".join(line for line in path.read_text().splitlines(True) if not line.split() or line.split()[0] not in OURS))
    done = subprocess.run(["haproxy", "-c", "-f", str(copy)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
