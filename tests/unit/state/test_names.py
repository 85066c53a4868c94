"""Names and their rows."""

from __future__ import annotations

import pytest

from forkproxy.errors import ConfigError
from forkproxy.plan import Address, Server
from forkproxy.state.names import PROCESS, NameTable, backend_key, frontend_key, listener_key


def test_rows_are_stable_and_new_names_get_new_ones() -> None:
    names = NameTable(10)
    first = names.allocate("a/<frontend>")
    second = names.allocate("b/s1")
    assert (first, second) == (1, 2)
    assert names.allocate("a/<frontend>") == first
    assert names.row(PROCESS) == 0
    assert "b/s1" in names and "b/s2" not in names
    assert list(names) == [PROCESS, "a/<frontend>", "b/s1"] and len(names) == 3
    with pytest.raises(KeyError):
        names.row("b/s2")


def test_full_says_so() -> None:
    names = NameTable(2)
    names.allocate("b/s1")
    with pytest.raises(ConfigError, match=r"all 2 rows of the shared state are taken, no room for 'b/s2'"):
        names.allocate("b/s2")
    assert names.allocate("b/s1") == 1


def test_prune_makes_room() -> None:
    names = NameTable(3)
    names.allocate("b/s1")
    names.allocate("b/s2")
    assert names.prune({"b/s2"}) == [1]
    assert names.row(PROCESS) == 0
    assert names.allocate("b/s3") == 1
    assert names.row("b/s2") == 2


def test_adopt_follows_the_master() -> None:
    master, worker = NameTable(10), NameTable(10)
    worker.adopt("b/s9", master.allocate("b/s9"))
    assert worker.row("b/s9") == 1
    assert worker.allocate("b/s10") == 2


def test_dump_and_load() -> None:
    names = NameTable(5)
    names.allocate("b/s1")
    names.allocate("b/ü")
    names.prune({"b/ü"})
    again = NameTable.load(names.dump())
    assert list(again) == [PROCESS, "b/ü"] and again.row("b/ü") == 2
    assert again.allocate("x") == 1 and again.allocate("y") == 3
    with pytest.raises(KeyError):
        again.row("b/s1")


def test_keys_of_different_kinds_never_meet() -> None:
    servers = [Server(name=name, address=Address("ipv4", "127.0.0.1", 80), backend="x", id=1).key for name in ("x", "frontend")]
    assert servers[0] == "x/x"
    assert len({frontend_key("x"), backend_key("x"), *servers, listener_key("x", "x"), PROCESS}) == 6
