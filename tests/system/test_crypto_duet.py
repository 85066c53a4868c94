"""Signatures of tokens and AES through Debian's haproxy (2.6: jwt_verify without PS*, aes_gcm_dec) and through ours: the same bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jwcrypto import jwk, jws

from forkproxy.rules.aes import gcm_seal
from tests.peers import needs
from tests.system.conftest import Proxy
from tests.system.test_language_duet import END, both
from tests.unit.rules.test_jwe import GCM, b64

pytestmark = [pytest.mark.system, needs("haproxy")]

ALGORITHMS = ("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
SECRET = "0123456789abcdef" * 4


def test_tokens_and_aes(start: Callable[..., Proxy], tmp_path: Path) -> None:
    keys = {"RS": jwk.JWK.generate(kty="RSA", size=2048)}
    keys |= {f"ES{size}": jwk.JWK.generate(kty="EC", crv=curve) for size, curve in ((256, "P-256"), (384, "P-384"), (512, "P-521"))}
    for name, key in keys.items():
        (tmp_path / f"{name}.pem").write_bytes(key.export_to_pem())
    keys["HS"] = jwk.JWK(kty="oct", k=base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="))
    rows: list[str] = []
    held: dict[str, str] = {}  # a file of a body has 16 kB at most in haproxy: what is long stands in variables
    for algorithm in ALGORITHMS:
        name = algorithm if algorithm in keys else algorithm[:2]
        made = jws.JWS(b'{"n":1}')
        made.add_signature(keys[name], None, json.dumps({"alg": algorithm}))
        head, payload, signature = made.serialize(compact=True).split(".")
        source = SECRET if name == "HS" else f"{tmp_path}/{name}.pem"
        for token in (
            f"{head}.{payload}.{signature}", f"{head}.e30.{signature}", f"{head}.{payload}.{signature[:-4]}", f"{head}.{payload}.",
            f"{head}.{payload}", f"{head}.{payload}.{signature}.x", f"{head}.{payload}.*{signature[1:]}", "nothing",
        ):  # fmt: skip
            variable = held.setdefault(token, f"txn.t{len(held)}")
            names = (algorithm, f"txn.{algorithm}") if token.endswith(signature) else (algorithm,)
            rows += [f"var({variable}),jwt_verify({a},{source})" for a in names]
        variable = held[f"{head}.{payload}.{signature}"]
        rows += [f"var({variable}),jwt_verify({other},{tmp_path}/RS.pem)" for other in ("RS384", "RS256")]
    rows += ["str(a.b.),jwt_verify(none,x)", "str(a.b.c),jwt_verify(none,x)", "str(a.b.),jwt_verify(txn.odd,x)"]
    rows.append("str(a.b.),jwt_verify(RS256,txn.odd)")
    for bits in (128, 192, 256):  # 2.6 has no <aad>
        key, nonce = "5a" * (bits // 8), GCM[1]
        text, tag = gcm_seal(bytes.fromhex(key), bytes.fromhex(nonce), b"sealed by ours", b"")
        for given in (tag, bytes(16)):
            rows.append(f"bin({text.hex()}),aes_gcm_dec({bits},{b64(nonce)},{b64(key)},{b64(given.hex())})")
    rules = [f"http-request set-var(txn.{a}) str({a})" for a in ALGORITHMS]
    rules += [f"http-request set-var({variable}) str({token})" for token, variable in held.items()]
    rules.append("http-request set-var(txn.odd) str(XX256)")
    body = END.join(f"%[{row}]" for row in rows)
    request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    got, wanted = both(start, tmp_path, request, body, "\n".join(f"  {rule}" for rule in rules))
    assert len(got) == len(wanted) == len(rows)
    assert [(row, ours, theirs) for row, ours, theirs in zip(rows, got, wanted, strict=True) if ours != theirs] == []
    assert wanted.count(b"1") >= 20 and wanted[-6:] == [b"sealed by ours", b""] * 3, "the oracle is asked what it can answer"
