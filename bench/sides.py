"""The proxies of a case and the world around them: who is started how, with which file, on which core. Three names mean something:
``haproxy…`` is Debian's, ``nginx`` its nginx (a second proxy in C, in the plain cases), any other is forkproxy."""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cases import Case
from bench.configs import Place, for_nginx
from bench.processes import LOAD_CORE, PROXY_CORE, Sink, free_port, more_descriptors, start, start_origin, stop, wait_for_port

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Ways:
    """How sides are started: ``forkproxy`` is a command of its own (empty: bin/forkproxy of this checkout), ``package`` the directory
    with another build of the package, which the side ``compiled`` runs (or ``forkproxy``, where no side has that name)."""

    names: Sequence[str]
    forkproxy: str = ""
    package: str = ""

    def command(self, name: str) -> tuple[list[str], dict[str, str]]:
        """The words that start a side (its configuration's name follows them) and what they need in the environment."""
        if name.startswith("haproxy"):
            return [shutil.which("haproxy") or "/usr/sbin/haproxy", "-q", "-db", "-f"], {}
        if name == "nginx":
            return [shutil.which("nginx") or "/usr/sbin/nginx", "-e", "stderr", "-c"], {}
        other = self.package and (name == "compiled" or "compiled" not in self.names)
        words = shlex.split(self.forkproxy) if self.forkproxy else [sys.executable, str(HERE.parent / "bin" / "forkproxy")]
        return [*words, "-q", "-db", "-f"], {"FORKPROXY_PACKAGE": str(Path(self.package).resolve())} if other else {}


@dataclass(frozen=True, slots=True)
class World:
    """What outlives the cases: a directory, the origin, the log sink."""

    directory: Path
    origin: subprocess.Popen[bytes]
    origin_port: int
    sink: Sink
    status: http.client.HTTPConnection

    def served(self) -> int:
        """How many requests the origin has had. Asked over a connection that stands: a new one may wait a second to be accepted by an
        origin that has all to do, and what is counted by then belongs to another time than the CPU's counters."""
        self.status.request("GET", "/status")
        return int(self.status.getresponse().read().split()[9])


@dataclass(slots=True)
class Side:
    """A proxy that is running for one case."""

    name: str
    process: subprocess.Popen[bytes]
    place: Place

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.place.port


def open_side(case: Case, name: str, ways: Ways, world: World, *, cores: int | str = PROXY_CORE, workers: int = 1) -> Side:
    """Start a proxy for a case and wait until it listens; the caller stops it. Raises RuntimeError with what it said, ValueError for a
    case that it cannot have."""
    port = free_port()
    stem = world.directory / f"{case.name}-{name}-{port}"
    place = Place(port, world.origin_port, world.sink.path, world.directory / f"cli-{port}", world.directory, workers)
    config = stem.with_suffix(".cfg")
    config.write_text((for_nginx if name == "nginx" else case.config)(case, place))
    log = stem.with_suffix(".log")
    words, variables = ways.command(name)
    process = start([*words, str(config)], cores, log, variables)
    try:
        wait_for_port(port, process, 60.0)
    except RuntimeError as error:
        stop(process)
        raise RuntimeError(f"{name}: {error}\n{log.read_text(errors='replace')}") from None
    return Side(name, process, place)


@contextlib.contextmanager
def running(case: Case, ways: Ways, world: World, *, cores: int | str = PROXY_CORE, workers: int = 1) -> Iterator[list[Side]]:
    """All sides for one case; ended at the end, whatever happens."""
    sides: list[Side] = []
    try:
        for name in ways.names:
            sides.append(open_side(case, name, ways, world, cores=cores, workers=workers))
        yield sides
    finally:
        for side in sides:
            stop(side.process)


@contextlib.contextmanager
def surroundings() -> Iterator[World]:
    """A directory, the origin and the log sink; all gone at the end."""
    os.sched_setaffinity(0, {LOAD_CORE})
    descriptors = more_descriptors()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an end from outside must end the children too
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        sink = Sink(directory / "log")
        sink.start()
        origin, port = start_origin(directory, max(1000, descriptors - 1000))
        try:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as status:
                status.connect()
                yield World(directory, origin, port, sink, status)
        finally:
            stop(origin)
            sink.stop()
