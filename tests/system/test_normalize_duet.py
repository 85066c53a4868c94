"""``http-request normalize-uri``: every normalizer over the same targets in Debian's haproxy and in forkproxy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.system.duet import Duet
from tests.system.scripts import OK, answer, ask

pytestmark = [pytest.mark.system, pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")]

NORMALIZERS = [
    "fragment-encode", "fragment-strip", "path-merge-slashes", "path-strip-dot", "path-strip-dotdot", "path-strip-dotdot full",
    "percent-decode-unreserved", "percent-decode-unreserved strict", "percent-to-uppercase", "percent-to-uppercase strict",
    "query-sort-by-name",
]  # fmt: skip
TARGETS = """
/ /. /./bar/ /a/./a /.well-known/ /a/. /a/.. /foo/../ /foo/../bar/ /foo/bar/../ /../bar/ /bar/../../ /foo//../ /foo/%2E%2E/ /.. /../..
/a/../.. /../a/../../b // /foo//bar //a///b//?x//y /%61dmin /foo%3Fbar=baz /%%36%36 /%ZZ /%6f /%zz /%7e%2d%5f /a%2 /?c=3&a=1&b=2
/?aaa=3&a=1&aa=2 /?a=3&b=4&a=1&b=5&a=2 /?b&a&&c= /x?%6f=%41 /#foo /#a#b /a?b#c http://h/a/../b//c/./d?z=1&a=2 http://h/../x * /a/.../b
/a/..b/../c /a?x/../y /./ /../ /a/b/../../c /?b=1&a
""".split()  # noqa: SIM905

TEXT = """
global
  log {log} local0
  expose-experimental-directives
defaults
  mode http
  timeout connect 1s
  timeout client 2s
  timeout server 2s
frontend fe
  bind 127.0.0.1:{port}
  option accept-invalid-http-request
  use_backend %[req.hdr(x-to)]
""" + "".join(  # a backend each: 2.6 takes no notice of some normalizers where a condition follows them
    f"backend n{i}\n  http-request normalize-uri {name}\n  server s 127.0.0.1:{{origin}}\n" for i, name in enumerate(NORMALIZERS)
)


@pytest.fixture(scope="module")
def duet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Duet]:
    both = Duet(tmp_path_factory.mktemp("normalize"), TEXT)
    yield both
    both.close()


@pytest.mark.parametrize("name", NORMALIZERS)
def test_same(duet: Duet, name: str) -> None:
    seen: list[dict[str, tuple[bytes, list[bytes]]]] = []
    for side in (duet.reference, duet.ours):
        found = {}
        for target in TARGETS:
            method = "OPTIONS" if target == "*" else "GET"
            host = "h" if target.startswith("http") else "a"
            raw = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nX-To: n{NORMALIZERS.index(name)}\r\nConnection: close\r\n\r\n"
            got = side.run(ask(raw.encode()), answer(OK), 0)
            found[target] = got.client[:12], [head.partition(b"\r\n")[0] for head in got.server]
        seen.append(found)
    assert seen[1] == seen[0]
