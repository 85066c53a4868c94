"""A master that dies or is replaced: the workers go on, the next master gets every socket."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ports import free_ports
from tests.system.conftest import Load, Proxy, eventually, get, gone, hello, refused

pytestmark = pytest.mark.system

Start = Callable[..., Proxy]


def test_the_service_survives_a_killed_master_and_the_next_one_takes_over(start: Start, load: Callable[..., Load]) -> None:
    (port,) = free_ports(1)
    first = start(hello(port)).ready()
    orphans = first.workers
    clients = load(port, 8, keep=False)
    clients.more(50)
    first.process.kill()
    first.wait()
    clients.more(100)
    eventually(lambda: all("(orphan)" in " ".join(o.cmdline()) for o in orphans), "titles of the orphans")
    second = start(hello(port, text="second")).ready()
    eventually(lambda: gone(orphans), "the orphans' end")
    clients.more(100)
    clients.stop()
    assert clients.failures == []
    assert get(port) == (200, b"second")
    assert len(second.workers) == 2


def test_takeover_with_another_number_of_workers_and_twice(start: Start, load: Callable[..., Load]) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port, workers=3)).ready()
    clients = load(port, 6, keep=False)
    for workers in (1, 2):
        orphans = proxy.workers
        proxy.process.kill()
        proxy.wait()
        proxy = start(hello(port, workers=workers)).ready()
        eventually(lambda: gone(orphans), "the orphans' end")  # noqa: B023
        clients.more(100)
    clients.stop()
    assert clients.failures == []


def test_without_a_successor_the_port_is_given_back(start: Start) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port).replace("hard-stop-after 5s", "hard-stop-after 500ms")).ready()
    orphans = proxy.workers
    proxy.process.kill()
    proxy.wait()
    assert get(port)[0] == 200
    eventually(lambda: refused(port), "the port is free")
    eventually(lambda: gone(orphans), "the orphans' end")


@pytest.mark.parametrize("option", ["-sf", "-st"])
def test_a_new_master_replaces_a_living_one(start: Start, load: Callable[..., Load], tmp_path: Path, option: str) -> None:
    (port,) = free_ports(1)
    first = start(hello(port)).ready()
    clients = load(port, 6, keep=option == "-sf")
    clients.more(50)
    second = start(hello(port, text="second"), "-W", option, str(first.pid)).ready()
    assert first.wait() == 0
    clients.more(100)
    clients.stop()
    if option == "-sf":
        assert clients.failures == []
    assert get(port) == (200, b"second")
    assert len(second.workers) == 2


def test_a_second_master_beside_the_first_shares_the_port_as_with_haproxy(start: Start) -> None:
    (port,) = free_ports(1)
    first = start(hello(port)).ready()
    second = start(hello(port)).ready()
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    assert get(port)[0] == 200
    assert second.process.poll() is None


def test_orphans_hand_over_nothing_to_another_file(start: Start) -> None:
    one, two = free_ports(2)
    first = start(hello(one)).ready()
    other = start(hello(two), name="other.cfg").ready()
    os.kill(first.pid, signal.SIGKILL)
    assert get(two)[0] == 200
    assert get(one)[0] == 200
    assert len(other.workers) == 2


def test_masters_beside_each_other_are_each_succeeded(start: Start, load: Callable[..., Load]) -> None:
    (port,) = free_ports(1)
    living = [start(hello(port)).ready(), start(hello(port)).ready()]
    clients = load(port, 4, keep=False)
    for _ in range(2):
        dead = living.pop(0)
        orphans = dead.workers
        dead.process.kill()
        dead.wait()
        living.append(start(hello(port)).ready())
        eventually(lambda: gone(orphans), "the orphans' end")  # noqa: B023
        clients.more(50)
    clients.stop()
    assert clients.failures == []
    assert [len(proxy.workers) for proxy in living] == [2, 2]
