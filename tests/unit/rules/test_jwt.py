"""Signatures of tokens: those of the standards, those made by openssl with a key of 1024 bits and by jwcrypto, and what is refused."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwcrypto import jwk, jws

import forkproxy.rules.library  # noqa: F401
from forkproxy.errors import ConfigError
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


def decode(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def pem(path: Path, key: Any) -> None:
    path.write_bytes(key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))


def certified(key: jwk.JWK) -> bytes:
    """A certificate of the key and the key itself, in PEM."""
    secret = key.export_to_pem(private_key=True, password=None)
    own = serialization.load_pem_private_key(secret, None)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    times = datetime.datetime(2020, 1, 1), datetime.datetime(2099, 1, 1)
    made = x509.CertificateBuilder(name, name, own.public_key(), 7, *times).sign(own, hashes.SHA256())  # type: ignore[arg-type]
    return made.public_bytes(serialization.Encoding.PEM) + bytes(secret)


def check(token: bytes, algorithm: str, key: str, converter: str = "jwt_verify") -> int:
    txn = make_txn()
    txn.vars = {"txn.t": token, "txn.alg": algorithm.encode(), "txn.key": key.encode()}
    found = {compile_sample(f"var(txn.t),{converter}({name},{key})", context()).fetch(txn) for name in (algorithm, "txn.alg")}
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


PAYLOAD = b"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
#: RFC 7515 A.3 and A.4: curve, header, payload, signature, the public key's numbers
STANDARD = {
    "ES256": (
        ec.SECP256R1, b"eyJhbGciOiJFUzI1NiJ9", PAYLOAD,
        b"DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        (b"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", b"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
    ),
    "ES512": (
        ec.SECP521R1, b"eyJhbGciOiJFUzUxMiJ9", b"UGF5bG9hZA",
        b"AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8Kp"
        b"EHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
        (
            b"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
            b"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
        ),
    ),
}  # fmt: skip


def number(text: bytes) -> int:
    return int.from_bytes(decode(text), "big")


@pytest.mark.parametrize("algorithm", list(STANDARD))
def test_elliptic_curves_of_the_standard(algorithm: str, keys: Path) -> None:
    curve, header, payload, signature, (x, y) = STANDARD[algorithm]
    pem(keys / "ec.pem", ec.EllipticCurvePublicNumbers(number(x), number(y), curve()).public_key())
    token = header + b"." + payload + b"." + signature
    assert check(token, algorithm, f"{keys}/ec.pem") == 1
    assert check(token, "ES384", f"{keys}/ec.pem") == -3, "a signature of that length is none of ES384"
    assert check(token, algorithm, f"{keys}/spki.pem") == 0, "the key is of another kind"
    assert check(header + b".e30." + signature, algorithm, f"{keys}/ec.pem") == 0
    assert check(header + b"." + payload + b"." + encoded(b"\0" * len(decode(signature))), algorithm, f"{keys}/ec.pem") == 0


def test_tokens_and_certificates_of_others(tmp_path: Path) -> None:
    """Every algorithm, signed by jwcrypto, checked by the public key and by a certificate of it."""
    for kind, parameters, algorithms in (
        ("RSA", {"size": 2048}, ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        ("EC", {"crv": "P-256"}, ("ES256",)), ("EC", {"crv": "P-384"}, ("ES384",)), ("EC", {"crv": "P-521"}, ("ES512",)),
    ):  # fmt: skip
        key = jwk.JWK.generate(kty=kind, **parameters)
        public, certificate = tmp_path / f"{algorithms[0]}.pem", tmp_path / f"{algorithms[0]}.crt"
        public.write_bytes(key.export_to_pem())
        certificate.write_bytes(certified(key))
        for algorithm in algorithms:
            made = jws.JWS(b'{"n":1}')
            made.add_signature(key, None, json.dumps({"alg": algorithm}))
            token = made.serialize(compact=True).encode()
            assert check(token, algorithm, str(public)) == check(token, algorithm, str(certificate), "jwt_verify_cert") == 1
            changed = token.replace(b".", b".A", 1)
            assert check(changed, algorithm, str(public)) == check(changed, algorithm, str(certificate), "jwt_verify_cert") == 0


def test_variables_and_odd_algorithms(keys: Path) -> None:
    txn = make_txn()
    ctx = context()
    sample = compile_sample("var(txn.t),jwt_verify(txn.alg,txn.key)", ctx)
    compile_sample(f"var(txn.t),jwt_verify(RS256,{keys}/spki.pem)", ctx)  # names the file, which the first one finds then
    for token, algorithm, key, expected in (
        (signed("x") + b".", "HS256", "s", -3), (signed("x") + b".AAAA", "HS256", "s", 0), (b"", "XX256", "s", -1), (b"", "HS1", "s", -1),
        (signed("x") + b".AAAA", "ES256", "s", -5), (signed("x") + b".AAAA", "RS256", f"{keys}/pkcs1.pem", -5),
        (signed("x") + b".AAAA", "RS256", f"{keys}/spki.pem", 0), (signed("x") + b".", "none", "", 1), (signed("x") + b".A", "none", "", 0),
        (b"a.b.c.d", "none", "", -3), (b"a.b", "HS256", "s", -3),
        (signed("RS512") + b"." + encoded(base64.b64decode(SIGNATURES["RS512"])), "RS512", f"{keys}/spki.pem", 1),
    ):  # fmt: skip
        txn.vars = {"txn.t": token, "txn.alg": algorithm.encode(), "txn.key": key.encode()}
        assert sample.fetch(txn) == expected, algorithm
    txn.vars = {"txn.t": signed("x") + b"."}
    assert sample.fetch(txn) == -1, "no algorithm"
    (keys / "c.pem").write_bytes(certified(jwk.JWK.generate(kty="EC", crv="P-256")))
    sample = compile_sample(f"var(txn.t),jwt_verify_cert(txn.alg,{keys}/c.pem)", ctx)
    for algorithm, expected in (("HS256", -2), ("RS256", 0), ("ES256", -3), ("none", 0), ("rs256", -1)):
        txn.vars = {"txn.t": signed("x") + b".AAAA", "txn.alg": algorithm.encode()}
        assert sample.fetch(txn) == expected, algorithm
    sample = compile_sample("var(txn.t),jwt_verify_cert(RS256,txn.key)", ctx)
    for name, expected in ((f"{keys}/c.pem", 0), (f"{keys}/spki.pem", -5)):
        txn.vars = {"txn.t": signed("x") + b".AAAA", "txn.key": name.encode()}
        assert sample.fetch(txn) == expected, name


def test_refused_when_read(keys: Path) -> None:
    (keys / "not.pem").write_text("nothing")
    (keys / "cut.pem").write_text("-----BEGIN RSA PUBLIC KEY-----\nMIGJAoGBAA==\n-----END RSA PUBLIC KEY-----\n")
    pem(keys / "ed.pem", ed25519.Ed25519PrivateKey.generate().public_key())
    for rule, message in (
        ("jwt_verify(RS999,x)", "not supported, one of none, HS, RS, PS, ES with"), ("jwt_verify(RS256,/nowhere/k)", "cannot be read"),
        ("jwt_verify(txn.a,/nowhere/k)", "cannot be read"), (f"jwt_verify(ES256,{keys}/not.pem)", "no public key"),
        (f"jwt_verify(RS256,{keys}/cut.pem)", "cannot be used"), (f"jwt_verify(ES256,{keys}/ed.pem)", "neither an RSA nor an EC key"),
        (f"jwt_verify_cert(HS256,{keys}/not.pem)", "one of none, RS, PS, ES"),
        (f"jwt_verify_cert(RS256,{keys}/spki.pem)", "no certificate"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            compile_sample(f"var(txn.t),{rule}", context())


@pytest.mark.parametrize("rule", [
    "jwt_verify(RS256,{}/spki.pem)", "jwt_verify(ES256,txn.key)", "jwt_verify(txn.alg,{}/spki.pem)", "jwt_verify_cert(RS256,x)",
    "jwt_decrypt_secret(aaaa)", "jwt_decrypt_jwk(txn.k)", "jwt_decrypt_cert(x)", "aes_gcm_dec(128,txn.n,txn.k,txn.t)",
    "aes_gcm_enc(128,txn.n,txn.k,txn.t)", "aes_cbc_dec(128,txn.n,txn.k)", "aes_cbc_enc(128,txn.n,txn.k)",
])  # fmt: skip
def test_without_the_package(rule: str, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match=r"'cryptography', which is not installed : pip install 'forkproxy\[crypto\]'"):
        compile_sample(f"var(txn.t),{rule.format(keys)}", context())


def test_secrets_need_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    test_hmac(256)
