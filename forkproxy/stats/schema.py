"""What "show info json" and "show stat json" look like (management manual 9.3 "show schema json"): json-schema.org, draft 4."""

from __future__ import annotations

import json

from forkproxy.stats.columns import Kind
from forkproxy.stats.csv import NATURE, ORIGIN, SCOPE


def _words(names: dict[str, str]) -> dict[str, object]:
    return {"type": "string", "enum": sorted(set(names.values()))}


_FIELD = {
    "field": {
        "type": "object",
        "properties": {"pos": {"type": "integer", "minimum": 0}, "name": {"type": "string"}},
        "required": ["pos", "name"],
    },
    "processNum": {"type": "integer", "minimum": 1},
    "tags": {
        "type": "object",
        "properties": {"origin": _words(ORIGIN), "nature": _words(NATURE), "scope": _words(SCOPE)},
        "required": ["origin", "nature", "scope"],
    },
    "value": {
        "type": "object",
        "properties": {"type": {"type": "string", "enum": ["s32", "u32", "u64", "str"]}, "value": {"type": ["integer", "string"]}},
        "required": ["type", "value"],
    },
}
_STAT = {
    "objType": {"type": "string", "enum": [kind.title for kind in Kind]},
    "proxyId": {"type": "integer", "minimum": 0},
    "id": {"type": "integer", "minimum": 0},
    **_FIELD,
}


def _list(properties: dict[str, object]) -> dict[str, object]:
    return {"type": "array", "items": {"type": "object", "properties": properties, "required": list(properties)}}


SCHEMA: dict[str, object] = {
    "$schema": "http://json-schema.org/draft-04/schema#",
    "oneOf": [
        {"title": "Info", **_list(_FIELD)},
        {"title": "Stat", "type": "array", "items": {"title": "StatItem", **_list(_STAT)}},
        {
            "title": "Error",
            "type": "object",
            "properties": {"errorStr": {"type": "string"}},
            "required": ["errorStr"],
        },
    ],
}


def text() -> str:
    """The schema as it is sent."""
    return json.dumps(SCHEMA, separators=(",", ":")) + "\n"
