"""State files: what is read of them, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from forkproxy.config.load import Result, load
from forkproxy.config.options import Options
from forkproxy.plan import SavedState

GOOD = "3 b 1 s1 127.0.0.9 0 1 7 1 100 8 2 0 6 0 0 0 - 8080 - 0 0 - - 0"


def run(tmp_path: Path, states: str | None, *, where: str = "global", name: str = "all", server: str = "127.0.0.1:80") -> Result:
    if states is not None:
        (tmp_path / name).write_text(states)
    path = tmp_path / "f.cfg"
    path.write_text(
        f"global\n server-state-base {tmp_path}\n server-state-file all\n"
        f"defaults\n timeout connect 1s\n timeout server 1s\nbackend b\n {where}\n server s1 {server}\n server s2 127.0.0.1:81\n"
    )
    return load([str(path)], Options())


def said(result: Result) -> list[str]:
    return [m.text for m in result.diagnostics.messages]


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("load-server-state-from-file global", "all"),
        ("load-server-state-from-file local", "b"),
        ("load-server-state-from-file local\n server-state-file-name use-backend-name", "b"),
        ("load-server-state-from-file local\n server-state-file-name own", "own"),
    ],
)
def test_a_file_is_read(tmp_path: Path, where: str, name: str) -> None:
    result = run(tmp_path, f"1\n# be_id be_name\n\n{GOOD}\n3 other 1 s2 - 0 0 1 1 1 1 1 1 1 0 0 0 - 0 -\n", where=where, name=name)
    assert said(result) == [] and result.plan is not None
    one, two = result.plan.backends["b"].servers
    assert one.saved == SavedState(
        op=0, admin=1, uweight=7, iweight=1, age_s=100, check_status=8, checking=True, address="127.0.0.9", port=8080
    )
    assert str(one.address) == "127.0.0.1:8080"  # a port that was changed stays; an address only where the file has a name
    assert two.saved is None


def test_nothing_is_read_unless_asked_for(tmp_path: Path) -> None:
    for where in ("load-server-state-from-file none", "balance roundrobin"):
        result = run(tmp_path, "broken", where=where)
        assert said(result) == [] and result.plan is not None and result.plan.backends["b"].servers[0].saved is None


@pytest.mark.parametrize(
    ("states", "complaint"),
    [
        (None, "config: Can't open global server state file '{}': No such file or directory"),
        ("", "config: Can't get version of the global server state file '{}'."),
        ("2\n" + GOOD, "config: Can't get version of the global server state file '{}'."),
        ("1\r\n" + GOOD, "config: Can't get version of the global server state file '{}'."),
        ("1\n#\nhello world\n" + GOOD, "config: corrupted global server state file '{}' at line 2."),
        ("1\n" + " ".join(GOOD.split()[:19]), "config: corrupted global server state file '{}' at line 1."),
        ("1\n" + GOOD.replace(".9 0 1", ".9 9 1"), "server-state application failed for server 'b/s1', invalid srv_op_state value '9'"),
        ("1\n" + GOOD.replace(" 7 1 ", " 300 1 "), "server-state application failed for server 'b/s1', invalid srv_uweight value '300'"),
        ("1\n" + GOOD.replace(" 7 1 ", " 7 x "), "server-state application failed for server 'b/s1', invalid srv_iweight value 'x'"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_warned_of(tmp_path: Path, states: str | None, complaint: str) -> None:
    result = run(tmp_path, states, where="load-server-state-from-file global")
    assert said(result) == [complaint.format(tmp_path / "all")]
    assert result.plan is not None and result.plan.backends["b"].servers[0].saved is None


def test_names_that_nobody_knows_now_but_somebody_knew(tmp_path: Path) -> None:
    where = "load-server-state-from-file global"
    result = run(tmp_path, f"1\n{GOOD}\n", where=where, server="no.such.name.invalid:80")
    assert result.plan is not None and str(result.plan.backends["b"].servers[0].address) == "127.0.0.9:8080"
    result = run(tmp_path, f"1\n{GOOD}\n", where=where, server="localhost:80 init-addr libc,last")
    assert result.plan is not None and str(result.plan.backends["b"].servers[0].address) != "127.0.0.9:8080"
    result = run(tmp_path, "1\n", where=where, server="no.such.name.invalid:80")
    assert said(result)[0] == "'server b/s1' : could not resolve address 'no.such.name.invalid'." and result.plan is None
