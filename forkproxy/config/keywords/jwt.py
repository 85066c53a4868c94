"""Which encrypted tokens rules may open (manual 3.1 "jwt.decrypt_alg_list", "jwt.decrypt_enc_list")."""

from __future__ import annotations

from forkproxy.config.args import Word
from forkproxy.config.drafts import GlobalDraft
from forkproxy.config.line import Line
from forkproxy.registry import keyword
from forkproxy.rules.keyring import ALGORITHMS, ENCRYPTIONS, chosen


def _list(name: str, key: str, names: frozenset[str], doc: str) -> None:
    def handler(draft: GlobalDraft, line: Line, text: str) -> None:
        try:
            draft.options[key] = chosen(text, names)
        except ValueError as err:
            line.fail(f"'{name}' : {err}", 1)

    handler.__doc__ = doc
    keyword("global", name, args=(Word(),), synopsis="<list>")(handler)


_list(
    "jwt.decrypt_alg_list", "jwt-algorithms", ALGORITHMS,
    "How the keys of tokens may be encrypted that the jwt_decrypt converters open: names with colons between, or ALL, less those behind a"
    " '!'. Without it everything but RSA1_5.",
)  # fmt: skip
_list(
    "jwt.decrypt_enc_list", "jwt-encryptions", ENCRYPTIONS,
    "How the contents of tokens may be encrypted that the jwt_decrypt converters open: names with colons between, or ALL, less those behind"
    " a '!'. Without it all of them.",
)  # fmt: skip
