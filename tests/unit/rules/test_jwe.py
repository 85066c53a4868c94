"""Encrypted tokens: those of the standards, those made by jwcrypto for every algorithm, and what is not opened. AES beside it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from jwcrypto import jwe, jwk

import forkproxy.rules.library  # noqa: F401
from forkproxy.errors import ConfigError
from forkproxy.rules.expr import compile_sample
from forkproxy.rules.jwe import _agreed, read_jwk
from forkproxy.rules.keyring import ALGORITHMS, ENCRYPTIONS, SYMMETRIC, Keyring, chosen
from tests.unit.rules.support import context, make_txn
from tests.unit.rules.test_jwt import certified

#: RFC 7516 A.3: A128KW and A128CBC-HS256
SECRET = "GawgguFyGrWKav7AX4VKUg"
TOKEN = (
    b"eyJhbGciOiJBMTI4S1ciLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0.6KB707dM9YTIgHtLvtgWQ8mKwboJW3of9locizkDTHzBC2IlrT1oOQ.AxY8DCtDaGlsbGljb3RoZQ."
    b"KDlTtXchhZTGufMYmOYGS4HffxPSUrfmqCHXaI9wOGY.U0m_YmjN04DJvceFICbCVQ"
)
PLAIN = b"Live long and prosper."
EVERYTHING = Keyring(ALGORITHMS, ENCRYPTIONS)


def opened(token: bytes, converter: str, argument: str = "", ring: Keyring = EVERYTHING) -> bytes:
    """What the converter gives of the token, with its argument written out (unless it is JSON) and from a variable."""
    txn = make_txn()
    txn.vars = {"txn.t": token, "txn.key": argument.encode()}
    arguments = ("txn.key",) if "{" in argument else (f"'{argument}'", "txn.key")
    found = {compile_sample(f"var(txn.t),{converter}({a})", context(keyring=ring)).fetch(txn) for a in arguments}
    assert len(found) == 1
    made = found.pop()
    assert isinstance(made, bytes)
    return made


def test_the_standard() -> None:
    assert opened(TOKEN, "jwt_decrypt_secret", SECRET) == PLAIN
    assert opened(TOKEN, "jwt_decrypt_jwk", json.dumps({"kty": "oct", "k": SECRET})) == PLAIN
    theirs = {
        "kty": "EC", "crv": "P-256", "x": "gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0", "y": "SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps",
    }  # fmt: skip
    ours = {
        "kty": "EC", "crv": "P-256", "x": "weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ", "y": "e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck",
        "d": "VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw",
    }  # fmt: skip
    header = {"alg": "ECDH-ES", "enc": "A128GCM", "apu": "QWxpY2U", "apv": "Qm9i", "epk": theirs}
    agreed = _agreed(read_jwk(json.dumps(ours).encode()), header, 16, "A128GCM")
    assert base64.urlsafe_b64encode(agreed) == b"VqqN6vgjbSBcIijNcacQGg==", "RFC 7518 appendix C"


def sealed(key: jwk.JWK, algorithm: str, encryption: str, **more: Any) -> bytes:
    token = jwe.JWE(PLAIN, json.dumps({"alg": algorithm, "enc": encryption, **more}), algs=[*ALGORITHMS, *ENCRYPTIONS])
    token.add_recipient(key)
    return bytes(token.serialize(compact=True).encode())


@pytest.fixture(scope="module")
def pairs() -> list[tuple[jwk.JWK, list[str]]]:
    """Keys of every kind, with the algorithms that take them."""
    curves = ("ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A192KW", "ECDH-ES+A256KW")
    found = [(jwk.JWK.generate(kty="EC", crv=curve), list(curves)) for curve in ("P-256", "P-384", "P-521")]
    found.append((jwk.JWK.generate(kty="RSA", size=2048), ["RSA-OAEP", "RSA-OAEP-256", "RSA1_5"]))
    found += [(jwk.JWK.generate(kty="oct", size=bits), [f"A{bits}KW", f"A{bits}GCMKW"]) for bits in (128, 192, 256)]
    return found


def test_tokens_of_others(pairs: list[tuple[jwk.JWK, list[str]]], tmp_path: Path) -> None:
    """Every algorithm with every encryption, by key, by secret and by the key beside a certificate."""
    seen = set()
    for number, (key, algorithms) in enumerate(pairs):
        text = key.export()
        file = tmp_path / f"{number}.pem"
        if key["kty"] != "oct":
            file.write_bytes(certified(key))
        for algorithm in algorithms:
            for encryption in ENCRYPTIONS:
                token = sealed(key, algorithm, encryption)
                assert opened(token, "jwt_decrypt_jwk", text) == PLAIN, (algorithm, encryption)
                if key["kty"] == "oct":
                    assert opened(token, "jwt_decrypt_secret", json.loads(text)["k"]) == PLAIN
                else:
                    assert opened(token, "jwt_decrypt_cert", str(file)) == PLAIN
            seen.add(algorithm)
    for encryption, bits in zip(sorted(ENCRYPTIONS), (256, 128, 384, 192, 512, 256), strict=True):
        key = jwk.JWK.generate(kty="oct", size=bits)
        assert opened(sealed(key, "dir", encryption), "jwt_decrypt_jwk", key.export()) == PLAIN, encryption
    assert seen | {"dir"} == ALGORITHMS


def test_what_is_not_opened(pairs: list[tuple[jwk.JWK, list[str]]]) -> None:
    wrong = [TOKEN[:i] + (b"B" if TOKEN[i : i + 1] == b"A" else b"A") + TOKEN[i + 1 :] for i in range(0, len(TOKEN) - 1, 7)]
    wrong += [TOKEN.rpartition(b".")[0], TOKEN + b".", TOKEN + b"=", b"", b"....", TOKEN[:-4], b"\xff" + TOKEN, TOKEN.replace(b".", b"!")]
    header = {"alg": "A128KW", "enc": "A128CBC-HS256"}
    for fields in ({"zip": "DEF"}, {"crit": ["exp"]}, {"alg": ["A128KW"]}, {"alg": "none"}, {"enc": None}):
        made = base64.urlsafe_b64encode(json.dumps({**header, **fields}).encode()).rstrip(b"=")
        wrong.append(made + TOKEN[TOKEN.index(b".") :])
    assert [opened(token, "jwt_decrypt_secret", SECRET) for token in wrong] == [b""] * len(wrong)
    assert opened(TOKEN, "jwt_decrypt_secret", "A" * 22) == opened(TOKEN, "jwt_decrypt_secret", "A" * 43) == b""
    ec, rsa = pairs[0][0], pairs[3][0]
    for key, algorithm in ((ec, "ECDH-ES+A128KW"), (ec, "ECDH-ES"), (rsa, "RSA-OAEP"), (rsa, "RSA1_5")):
        token = sealed(key, algorithm, "A128GCM")
        others = [other.export() for other, _ in pairs if other is not key]
        assert [opened(token, "jwt_decrypt_jwk", other) for other in others] == [b""] * len(others)
        short = b".".join((token.split(b".")[0], b"AAAA", *token.split(b".")[2:]))
        assert opened(short, "jwt_decrypt_jwk", key.export()) == b"", algorithm


def test_what_is_allowed(pairs: list[tuple[jwk.JWK, list[str]]]) -> None:
    token = sealed(pairs[3][0], "RSA1_5", "A128GCM")
    assert opened(token, "jwt_decrypt_jwk", pairs[3][0].export(), Keyring()) == b"", "off by itself"
    for ring in (Keyring(SYMMETRIC - {"A128KW"}), Keyring(None, ENCRYPTIONS - {"A128CBC-HS256"})):
        assert opened(TOKEN, "jwt_decrypt_secret", SECRET, ring) == b""
    assert opened(TOKEN, "jwt_decrypt_secret", SECRET, Keyring()) == PLAIN
    names = ("a", "b", "c")
    texts = {"ALL": "abc", "ALL:!b": "ac", "!b": "", "a:c": "ac", "a:ALL:!a": "bc"}
    assert {text: "".join(sorted(chosen(text, names))) for text in texts} == texts
    with pytest.raises(ValueError, match="'d' is not one of ALL, a, b, c"):
        chosen("ALL:!d", names)


def test_keys_and_variables(tmp_path: Path) -> None:
    key = jwk.JWK.generate(kty="EC", crv="P-256")
    token = sealed(key, "ECDH-ES", "A256GCM")
    both = certified(key)
    (tmp_path / "apart.pem").write_bytes(both[: both.index(b"-----BEGIN PRIVATE")])
    with pytest.raises(ConfigError, match=r"no private key in '.*apart.pem' or '.*apart.pem.key'"):
        opened(token, "jwt_decrypt_cert", f"{tmp_path}/apart.pem", Keyring())
    (tmp_path / "apart.pem.key").write_bytes(both[both.index(b"-----BEGIN PRIVATE") :])
    assert opened(token, "jwt_decrypt_cert", f"{tmp_path}/apart.pem") == PLAIN
    (tmp_path / "locked.pem").write_bytes(both[: both.index(b"-----BEGIN PRIVATE")] + key.export_to_pem(True, b"secret"))
    txn = make_txn()
    txn.vars = {"txn.t": token, "txn.public": key.export(private_key=False).encode(), "txn.text": b"no"}
    assert compile_sample("var(txn.t),jwt_decrypt_jwk(txn.none)", context()).fetch(txn) is None
    for source in ("jwt_decrypt_jwk(txn.public)", "jwt_decrypt_jwk(txn.text)", "jwt_decrypt_secret(txn.t)", "jwt_decrypt_cert(txn.text)"):
        assert compile_sample(f"var(txn.t),{source}", context()).fetch(txn) == b""
    for source, message in (
        ("jwt_decrypt_secret(*)", "neither base64"), ("jwt_decrypt_jwk('{}')", "not a private key"),
        ("jwt_decrypt_jwk(x)", "not a private key"),
        ("""jwt_decrypt_jwk('{"kty":"OKP"}')""", "'kty' of the JWK"), (f"jwt_decrypt_cert({tmp_path}/locked.pem)", "cannot be used"),
        ("jwt_decrypt_cert(/nowhere/c)", "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            compile_sample(f"var(txn.t),{source}", context())
    rsa = jwk.JWK.generate(kty="RSA", size=2048)
    sparse = {name: value for name, value in json.loads(rsa.export()).items() if name in ("kty", "n", "e", "d")}
    assert opened(sealed(rsa, "RSA-OAEP", "A128GCM"), "jwt_decrypt_jwk", json.dumps(sparse)) == PLAIN
    pkcs1 = serialization.load_pem_private_key(rsa.export_to_pem(True, None), None)
    (tmp_path / "rsa.pem").write_bytes(
        certified(rsa).split(b"-----BEGIN PRIVATE")[0]
        + pkcs1.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    )
    assert opened(sealed(rsa, "RSA-OAEP", "A128GCM"), "jwt_decrypt_cert", f"{tmp_path}/rsa.pem") == PLAIN


# -- AES -------------------------------------------------------------------------------------------------------------------


def b64(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode()


#: test case 4 of the submission of GCM to NIST: key, nonce, plaintext, aad, ciphertext, tag
GCM = (
    "feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    "feedfacedeadbeeffeedfacedeadbeefabaddad2",
    "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
    "5bc94fbc3221a5db94fae95ae7121a47",
)  # fmt: skip
#: NIST SP 800-38A F.2.1, F.2.3 and F.2.5: key, first block of the ciphertext; vector and plaintext are the same for all
CBC = {
    128: ("2b7e151628aed2a6abf7158809cf4f3c", "7649abac8119b246cee98e9b12e9197d"),
    192: ("8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b", "4f021db243bc633d7178183a9fa071e8"),
    256: ("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", "f58c4c04d6e5f1ba779eabfb5f7bfbd6"),
}
BLOCK, VECTOR = "6bc1bee22e409f96e93d7e117393172a", "000102030405060708090a0b0c0d0e0f"


def run(value: bytes, chain: str, **held: bytes) -> tuple[Any, dict[str, Any]]:
    txn = make_txn()
    txn.vars = {"txn.in": value, **{f"txn.{name}": text for name, text in held.items()}}
    return compile_sample(f"var(txn.in),{chain}", context()).fetch(txn), txn.vars


def test_aes_gcm() -> None:
    key, nonce, plain, aad, text, tag = GCM
    sealed, held = run(bytes.fromhex(plain), f"aes_gcm_enc(128,{b64(nonce)},{b64(key)},txn.tag,{b64(aad)})")
    assert sealed == bytes.fromhex(text) and held["txn.tag"] == b64(tag).encode()
    good = {"n": b64(nonce), "k": b64(key), "t": b64(tag), "a": b64(aad)}

    def opened(bits: str = "128", **changed: str) -> Any:
        given = {name: value.encode() for name, value in {**good, **changed}.items()}
        return run(bytes.fromhex(text), f"aes_gcm_dec({bits},txn.n,txn.k,txn.t,txn.a)", **given)[0]

    assert opened() == bytes.fromhex(plain)
    assert run(bytes.fromhex(text), f"aes_gcm_dec(128,{good['n']},{good['k']},{good['t']},{good['a']})")[0] == bytes.fromhex(plain)
    assert opened(t=b64(tag[:24])) == bytes.fromhex(plain), "twelve bytes of a tag are enough"
    flipped = b64("5ac94fbc3221a5db94fae95ae7121a47")
    for changed in (
        {"t": flipped}, {"t": b64(tag[:22])}, {"t": "a"}, {"a": b64("00")}, {"k": b64(VECTOR)}, {"k": "*"}, {"n": b64("00" * 12)},
        {"n": ""},
    ):  # fmt: skip
        assert opened(**changed) is None, changed
    assert opened("256") is None, "the key in the variable is too short"
    assert run(b"x", "aes_gcm_enc(128,txn.none,txn.k,txn.tag)", k=good["k"].encode())[0] is None
    for bits, size in ((128, 32), (192, 48), (256, 64)):
        long = b64("5a" * (size // 2))
        there = f"aes_gcm_enc({bits},{good['n']},{long},txn.tag),aes_gcm_dec({bits},{good['n']},{long},txn.tag)"
        assert run(b"", there)[0] == b"" and run(b"text", there)[0] == b"text"


def test_aes_cbc() -> None:
    for bits, (key, first) in CBC.items():
        chain = f"({bits},{b64(VECTOR)},{b64(key)})"
        text, _ = run(bytes.fromhex(BLOCK), f"aes_cbc_enc{chain}")
        assert text[:16] == bytes.fromhex(first) and len(text) == 32, "a whole block of padding behind it"
        assert run(text, f"aes_cbc_dec{chain}")[0] == bytes.fromhex(BLOCK)
        assert run(text[:-1], f"aes_cbc_dec{chain}")[0] is None
        assert run(text[:16], f"aes_cbc_dec{chain}")[0] is None, "no padding"
        assert run(text, f"aes_cbc_dec({bits},txn.n,txn.k)", n=b64(VECTOR).encode(), k=b64(key).encode())[0] == bytes.fromhex(BLOCK)
        assert run(text, f"aes_cbc_dec({bits},txn.n,txn.k)", n=b64("00").encode(), k=b64(key).encode())[0] is None


def test_aes_refused_when_read() -> None:
    key, nonce = b64(GCM[0]), b64(GCM[1])
    for rule, message in (
        (f"aes_gcm_dec(64,{nonce},{key},txn.t)", "128, 192 or 256"), (f"aes_gcm_dec(256,{nonce},{key},txn.t)", "16 bytes and must have 32"),
        (f"aes_gcm_dec(128,{nonce},{key},AAAA)", "the tag has 3 bytes"), (f"aes_gcm_enc(128,{nonce},{key},AAAA)", "invalid variable name"),
        (f"aes_gcm_dec(128,%,{key},txn.t)", "the nonce is neither base64"), (f"aes_cbc_dec(128,{nonce},{key})", "the nonce has 12 bytes"),
        (f"aes_cbc_enc(128,{b64(VECTOR)},{key},AAAA)", "CBC authenticates nothing"), ("aes_cbc_enc(128,AAAA)", "argument 3"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            compile_sample(f"str(x),{rule}", context())
