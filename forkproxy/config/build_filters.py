"""The filters of a section, with the tables that they refer to, which may stand anywhere in the file."""

from __future__ import annotations

from forkproxy.config.drafts import FilterDraft, ProxyDraft
from forkproxy.errors import ConfigError
from forkproxy.rules import tables
from forkproxy.rules.bandwidth import Bandwidth
from forkproxy.rules.context import RuleContext
from forkproxy.rules.expr import compile_sample
from forkproxy.state.stickspec import columns
from forkproxy.values import replace


def bandwidth_filters(draft: ProxyDraft, context: RuleContext) -> dict[str, Bandwidth]:
    """By name; what is wrong becomes an alert of its line."""
    held: list[FilterDraft] = draft.settings.get("filters", [])
    sequences = draft.settings.get("filter-sequence", {})
    kinds = {made.kind for made in held}
    for line, at, names in sequences.values():
        for name in names:
            if name not in kinds:
                line.alert(f"'filter-sequence' : filter '{name}' is not declared in {draft.label} '{draft.name}'.", at)
    found = {}
    for made in held:
        inward = made.kind == "bwlim-in"
        sequence = sequences.get("request" if inward else "response")
        on = sequence is None or made.kind in sequence[2]
        one = Bandwidth(name=made.name, inward=inward, limit=made.limit, period_ms=made.period_ms, least=made.least, on=on)
        found[made.name] = _shared(made, one, context) if made.key else one
    return found


def _shared(made: FilterDraft, one: Bandwidth, context: RuleContext) -> Bandwidth:
    wanted = "bytes_in_rate" if one.inward else "bytes_out_rate"
    try:
        ref = tables.find(made.table, context)
        column = columns(ref.spec)[0].get(wanted)
        if column is None:
            raise ValueError(f"stick-table '{ref.spec.name}' does not store {wanted}")
        compile_sample(made.key, context, want=tables.KEY_TYPES[ref.spec.type], check=False)
    except ConfigError as err:
        made.line.alert(f"filter '{made.name}' : {err.message}")
        return one
    except ValueError as err:
        made.line.alert(f"filter '{made.name}' : {err}")
        return one
    return replace(one, key=made.key, table=ref, rate=column.offset, period_ms=column.period_ms)
