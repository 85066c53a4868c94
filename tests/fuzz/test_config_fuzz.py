"""Whatever stands in a file: it gives a plan or diagnostics, never an exception, and every diagnostic can be printed.

Valid configurations are damaged in the ways in which files get damaged (words swapped, lines doubled, moved, cut, glued, bytes flipped),
and words of the language are put in places where they do not belong.
"""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from forkproxy import registry
from forkproxy.config import conditions, known
from forkproxy.config.diagnostics import Severity
from forkproxy.config.load import load, register
from forkproxy.config.options import Options
from tests.fuzz.effort import examples

register()
ROOT = Path(__file__).resolve().parents[2]
SEEDS = [path.read_bytes() for place in ("etc", "tests/config/cases") for path in sorted((ROOT / place).glob("*.cfg"))]
LINES = [line for seed in SEEDS for line in seed.split(b"\n")]
#: What a word may become: everything that is registered here or there, and what parsers trip over.
WORDS = [
    *sorted(
        {name.encode() for _section, name in registry.KEYWORDS}
        | {name.encode() for table in (registry.FETCHES, registry.CONVERTERS, registry.ACL_ALIASES) for name in table}
        | {name.encode() for _place, name in registry.ACTIONS}
        | {name.encode() for kind in ("bind", "server", "proxy", "global", "section", "option") for name in known.names(kind)}
    ),
    b"", b"''", b'""', b'"', b"'", b"\\", b"\\x", b"\\x00", b"#", b"$", b'"${', b'"${A[*]}"', b'"$.LINE"', b"%[", b"%[src", b"%{", b"{",
    b"}", b"(", b")", b",", b"!", b"no", b"default", b"from", b"if", b"unless", b"or", b"||", b".if", b".endif", b".else",
    b".alert", b"-1", b"0",
    b"9" * 400, b"\xff\xfe", b"\xc3", b"\x00", b"\r", b"\x0b", b"*:", b":", b"::", b"[", b"[::1]:80", b"fd@", b"fd@99999999999", b"unix@",
    b"abns@", b"127.0.0.1:1-5", b"1s", b"99999d", b"1k", b"1e3", b"\xd9\xa1", b"\xc2\xb2", b"1.5", b"/nonexistent", b"/", b"-m",
    b"-f", b"--",
    b"x" * 5000,
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def no_resolver() -> object:
    """Names are not asked for: what the machine's resolver says about nonsense takes time and belongs to nobody."""

    def nobody(*_args: object, **_kw: object) -> list[object]:
        raise OSError("no such host")

    patch = pytest.MonkeyPatch()
    patch.setattr(socket, "getaddrinfo", nobody)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "f.cfg"


def damage(rng: random.Random) -> bytes:
    """One of the seeds, damaged in one to eight places."""
    lines = rng.choice(SEEDS).split(b"\n")
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(lines))
        words = lines[at].split(b" ")
        match rng.randrange(12):
            case 0 | 1 | 2:
                words[rng.randrange(len(words))] = rng.choice(WORDS)
            case 3 | 4:
                words.insert(rng.randrange(len(words) + 1), rng.choice(WORDS))
            case 5:
                del words[rng.randrange(len(words)) :]
            case 6:
                lines.insert(at, rng.choice(LINES))
            case 7:
                lines.insert(rng.randrange(len(lines) + 1), lines[at])
            case 8:
                rng.shuffle(words)
            case 9 if len(lines) > 2:
                del lines[at]
                continue
            case 10:
                data = bytearray(lines[at] or b" ")
                data[rng.randrange(len(data))] = rng.randrange(256)
                words = [bytes(data)]
            case 11:
                words.append(rng.choice(words))
        lines[at] = b" ".join(words)
    return b"\n".join(lines)


def judge(path: Path, data: bytes) -> None:
    """Load ``data``; an exception is the failure that is looked for."""
    path.write_bytes(data)
    directory, environment = os.getcwd(), dict(os.environ)
    result = load([str(path)], Options())
    failed = any(m.severity is Severity.ALERT for m in result.diagnostics.messages)
    assert (result.plan is None) == failed
    for message in result.diagnostics.messages:
        message.render(1).encode("utf-8", "surrogateescape")
    assert (os.getcwd(), dict(os.environ)) == (directory, environment)


@given(st.integers(0, 2**32))
@settings(max_examples=examples(300), deadline=None, suppress_health_check=list(HealthCheck))
def test_damaged_files_give_a_plan_or_diagnostics(path: Path, seed: int) -> None:
    judge(path, damage(random.Random(seed)))


@given(st.binary(max_size=400))
@example(b"\x7fELF\x02\x01\x01" + bytes(60) + b"\n")
@example(b"\x1f\x8b\x08\x00\n\xff\xff")
@example("\ufeffglobal\n".encode())
@example("global\n".encode("utf-16"))
@example(b"global\r\n maxconn 10\r\n")
@settings(max_examples=examples(100), deadline=None, suppress_health_check=list(HealthCheck))
def test_garbage_gives_diagnostics(path: Path, data: bytes) -> None:
    judge(path, data)


@given(st.text(alphabet="01!&|() \t\\\"',abcdefinortsuv_.-$", max_size=40))
@settings(max_examples=examples(300), deadline=None)
def test_conditions_are_true_false_or_refused(text: str) -> None:
    try:
        assert conditions.evaluate(text, conditions.Context({})) in (True, False)
    except conditions.ConditionError as exc:
        assert 0 <= exc.offset <= len(text)
