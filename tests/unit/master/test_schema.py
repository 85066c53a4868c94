"""The schema of "show schema json" and what it is the schema of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from forkproxy.stats import csv, info
from forkproxy.stats.schema import SCHEMA
from tests.unit.stats import fixtures

TYPES: dict[str, type] = {"object": dict, "array": list, "string": str, "integer": int}


def fits(value: Any, schema: Any) -> bool:
    """JSON schema, as far as ours goes."""
    if "oneOf" in schema:
        return sum(fits(value, one) for one in schema["oneOf"]) == 1
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(isinstance(value, TYPES[kind]) for kind in kinds):
        return False
    if isinstance(value, dict):
        known = schema["properties"]
        return set(schema["required"]) <= value.keys() and all(fits(value[name], known[name]) for name in known if name in value)
    if isinstance(value, list):
        return all(fits(one, schema["items"]) for one in value)
    return value in schema.get("enum", (value,)) and value >= schema.get("minimum", value)


@pytest.fixture
def world() -> fixtures.World:
    return fixtures.world()


def test_outputs_fit_it(world: fixtures.World) -> None:
    schema = json.loads(json.dumps(SCHEMA))
    shown = json.loads(info.to_json(world.context.info()))
    rows = json.loads("".join(csv.to_json(world.context.model.all())))
    assert len(shown) > 60 and len(rows) > 3
    assert fits(shown, schema) and fits(rows, schema) and fits({"errorStr": "x"}, schema)
    wrongs: tuple[Any, ...] = ({}, [{}], [{**shown[0], "value": {"type": "f32", "value": 1}}], [[{**rows[0][0], "id": -1}]], "x")
    for wrong in wrongs:
        assert not fits(wrong, schema), wrong
