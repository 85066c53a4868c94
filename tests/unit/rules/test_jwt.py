"""Signatures of tokens: made by openssl with a key of 1024 bits, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

import forkproxy.rules.library  # noqa: F401
from forkproxy.errors import ConfigError
from forkproxy.rules.converters.jwt import read_key
from forkproxy.rules.expr import compile_sample
from tests.unit.rules.support import context, make_txn

SPKI = """-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDa21FSIPMn2WwGPFCsnCZ4SbwK
/YAE3fXZUXbONbMpHpC6k0FjFsQ6ZYgenKBVEdkcBanV8uzjsVKeqzafwTc4Y/WL
DAf484dmXHF5b7iN2a4aooPABtkJEE8vuwsRMSBd1FsrRjTrPPV2fcSyPC4BgNNb
Af+7ShUoIhW0JB6I3QIDAQAB
-----END PUBLIC KEY-----
"""
PKCS1 = """-----BEGIN RSA PUBLIC KEY-----
MIGJAoGBANrbUVIg8yfZbAY8UKycJnhJvAr9gATd9dlRds41sykekLqTQWMWxDpl
iB6coFUR2RwFqdXy7OOxUp6rNp/BNzhj9YsMB/jzh2ZccXlvuI3Zrhqig8AG2QkQ
Ty+7CxExIF3UWytGNOs89XZ9xLI8LgGA01sB/7tKFSgiFbQkHojdAgMBAAE=
-----END RSA PUBLIC KEY-----
"""
SIGNATURES = {
    "RS256": (
        "DOdlcRMDhRWqy8QA/vgr7pVX7GGNnHV/BzWGvnwcjF8xafDMLyGWyEvQ4hUc40nz8AJHwWQ/HACDr0m0VLxEBhHF+MN4nAGDhX/UeALJTaRknnOdMxMMj0N/"
        "MMv3e96arnJFgDDN0wSXAKumIIQ6yRLqRf6vRqJ6g1luShq13f4="
    ),
    "RS512": (
        "S80/PwjA3CuW0NbcSFIwrcrPOgw/jjnGYYHKII+yBxVTr0ahDFJJ/jNxhqVV7y7mbFOQaDPYmQuihzxxuHwXqDJSwgIdYqvMmBEpnNkjM9kcD0xuajybdh32"
        "MBzWz3s4wwdxmoJ2TUfFubKXiuHaOkESnXrV8PL/fxW8KAYh2TU="
    ),
    "PS256": (
        "AAZMx3TWcbLXZsjjcWWAY6Yqd/e0HI2N6EGIKIMFwjsBjsNM6MjItEm9xu2eLswlHF8hHR36i3XYcTJopeJGFsLq65Q8fRj79sMRutdQDBBf7uydcD1PAjw+"
        "kCnvCm6a+sjUM55cn8JfzJ/QM2+AkU4gUFK8LbnbFDYmFY6oBSo="
    ),
    "PS384": (
        "wV92S2d0nr2DUj8hbTvizorjpY/rHE3mo095b2RWn21xyTXEbnOSR46bG9jHaqzLEM+DgF5Ay9+YXaTAFMbHG9zX30PO3OYXa8O9T2C55KtFhaEBx+FAslVY"
        "0PGQiidhdrEUb9h0aG9dNhxN7dhT5xgRe9pSN1653uj2G2BoD/U="
    ),
}


def encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def signed(algorithm: str) -> bytes:
    return encoded(b'{"alg":"' + algorithm.encode() + b'"}') + b"." + encoded(b'{"n":1}')


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    (tmp_path / "spki.pem").write_text(SPKI)
    (tmp_path / "pkcs1.pem").write_text(PKCS1)
    return tmp_path


def check(token: bytes, algorithm: str, key: str) -> int:
    txn = make_txn()
    txn.vars = {"txn.t": token, "txn.alg": algorithm.encode(), "txn.key": key.encode()}
    found = {compile_sample(f"var(txn.t),jwt_verify({name},{key})", context()).fetch(txn) for name in (algorithm, "txn.alg")}
    assert len(found) == 1, "the same by name and by variable"
    return int(found.pop())


@pytest.mark.parametrize("name", ["spki.pem", "pkcs1.pem"])
@pytest.mark.parametrize("algorithm", list(SIGNATURES))
def test_rsa(algorithm: str, name: str, keys: Path) -> None:
    good = signed(algorithm) + b"." + encoded(base64.b64decode(SIGNATURES[algorithm]))
    assert check(good, algorithm, f"{keys}/{name}") == 1
    other = signed(algorithm)[:-1] + b"A." + good.rpartition(b".")[2]
    assert check(other, algorithm, f"{keys}/{name}") == 0
    changed = bytearray(base64.b64decode(SIGNATURES[algorithm]))
    changed[-1] ^= 1
    assert check(signed(algorithm) + b"." + encoded(bytes(changed)), algorithm, f"{keys}/{name}") == 0
    assert check(signed(algorithm) + b"." + encoded(b"\xff" * len(changed)), algorithm, f"{keys}/{name}") == 0
    wrong = next(other for other in SIGNATURES if other != algorithm)
    assert check(good, wrong, f"{keys}/{name}") == 0
    assert check(good.rpartition(b".")[0], algorithm, f"{keys}/{name}") == -3


@pytest.mark.parametrize("size", [256, 384, 512])
def test_hmac(size: int) -> None:
    token = signed(f"HS{size}")
    good = token + b"." + encoded(hmac.digest(b"secret", token, getattr(hashlib, f"sha{size}")))
    assert [check(good, f"HS{size}", key) for key in ("secret", "other")] == [1, 0]
    assert check(good + b"!", f"HS{size}", "secret") == -3


def test_variables_and_odd_algorithms(keys: Path) -> None:
    txn = make_txn()
    sample = compile_sample("var(txn.t),jwt_verify(txn.alg,txn.key)", context())
    for algorithm, key, expected in (
        ("HS256", "s", 0), ("XX256", "s", -1), ("HS1", "s", -1), ("ES256", "s", -2), ("RS256", "s", -5), ("none", "", 1),
    ):  # fmt: skip
        txn.vars = {"txn.t": signed("x") + b".", "txn.alg": algorithm.encode(), "txn.key": key.encode()}
        assert sample.fetch(txn) == expected, algorithm


def test_refused_when_read(keys: Path) -> None:
    for args, message in (
        ("ES256,x", "not supported"), ("RS999,x", "not supported"), ("RS256,/nowhere/k", "cannot be read"),
        (f"RS256,{keys}/not.pem", "no public key"),
    ):  # fmt: skip
        (keys / "not.pem").write_text("nothing")
        with pytest.raises(ConfigError, match=message):
            compile_sample(f"var(txn.t),jwt_verify({args})", context())
    with pytest.raises(ValueError, match="cut off"):
        read_key(b"-----BEGIN RSA PUBLIC KEY-----\nMIGJAoGBAA==\n-----END RSA PUBLIC KEY-----\n")
