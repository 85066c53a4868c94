"""The table of counters: complete against the exporter's families and the columns of show stat, without overlaps."""

from __future__ import annotations

import pytest

from forkproxy.errors import ERRORS
from forkproxy.state import layout
from forkproxy.state.layout import COUNTERS, ROW_CELLS, Kind

#: What the exporter lists and no cell holds: configuration, ``psutil``, sums over other rows, and features that do not exist yet.
COMPUTED = {
    "frontend": "limit_session_rate limit_sessions status http_cache_hits_total http_cache_lookups_total http_comp_bytes_bypassed_total"
    " http_comp_bytes_in_total http_comp_bytes_out_total http_comp_responses_total",
    "backend": "active_servers agg_check_status agg_server_check_status agg_server_status backup_servers limit_sessions status"
    " http_cache_hits_total http_cache_lookups_total http_comp_bytes_bypassed_total http_comp_bytes_in_total http_comp_bytes_out_total"
    " http_comp_responses_total",
    "server": "active backup check_status idle_connections_limit limit_sessions queue_limit status",
}

#: The families of the exporter's list for frontends, backends and servers (a copy of facts, so that a cell cannot be forgotten).
FAMILIES = {
    "frontend": "bytes_in_total bytes_out_total connections_rate_max connections_total current_session_rate current_sessions"
    " denied_connections_total denied_sessions_total failed_header_rewriting_total http_requests_rate_max http_requests_total"
    " http_responses_total intercepted_requests_total internal_errors_total max_session_rate max_sessions req_bytes_in_total"
    " req_bytes_out_total request_errors_total requests_denied_total res_bytes_in_total res_bytes_out_total responses_denied_total"
    " sessions_total",
    "backend": "bytes_in_total bytes_out_total check_last_change_seconds check_up_down_total client_aborts_total"
    " connect_time_average_seconds connection_attempts_total connection_errors_total connection_reuses_total current_queue"
    " current_session_rate current_sessions downtime_seconds_total failed_header_rewriting_total http_requests_total"
    " http_responses_total internal_errors_total last_session_seconds loadbalanced_total max_connect_time_seconds max_queue"
    " max_queue_time_seconds max_response_time_seconds max_session_rate max_sessions max_total_time_seconds"
    " queue_time_average_seconds redispatch_warnings_total req_bytes_in_total req_bytes_out_total requests_denied_total"
    " res_bytes_in_total res_bytes_out_total response_errors_total response_time_average_seconds responses_denied_total"
    " retry_warnings_total server_aborts_total sessions_total total_time_average_seconds uweight weight",
    "server": "bytes_in_total bytes_out_total check_code check_duration_seconds check_failures_total check_last_change_seconds"
    " check_up_down_total client_aborts_total connect_time_average_seconds connection_attempts_total connection_errors_total"
    " connection_reuses_total current_queue current_session_rate current_sessions current_throttle downtime_seconds_total"
    " failed_header_rewriting_total http_requests_total http_responses_total idle_connections_current internal_errors_total"
    " last_session_seconds loadbalanced_total max_connect_time_seconds max_queue max_queue_time_seconds max_response_time_seconds"
    " max_session_rate max_sessions max_total_time_seconds need_connections_current private_idle_connections_current"
    " queue_time_average_seconds redispatch_warnings_total req_bytes_in_total req_bytes_out_total res_bytes_in_total"
    " res_bytes_out_total response_errors_total response_time_average_seconds responses_denied_total retry_warnings_total"
    " safe_idle_connections_current server_aborts_total sessions_total total_time_average_seconds unsafe_idle_connections_current"
    " used_connections_current uweight weight",
}
LETTER = {"frontend": "F", "backend": "B", "server": "S"}


def test_cells_do_not_overlap_and_fit() -> None:
    taken: set[int] = set()
    for counter in COUNTERS.values():
        cells = set(range(counter.offset, counter.offset + counter.width))
        assert not cells & taken, counter.name
        taken |= cells
    assert max(taken) < ROW_CELLS
    assert ROW_CELLS % 8 == 0


@pytest.mark.parametrize("scope", FAMILIES)
def test_every_family_that_needs_a_cell_has_one(scope: str) -> None:
    have = {c.family[LETTER[scope]] for c in COUNTERS.values() if LETTER[scope] in c.family}
    assert have == set(FAMILIES[scope].split())
    assert not have & set(COMPUTED[scope].split())


def test_a_family_has_one_cell_or_one_per_label() -> None:
    seen: set[tuple[str, str, tuple[str, str] | None]] = set()
    for counter in COUNTERS.values():
        for scope, family in counter.family.items():
            assert scope in counter.scopes, counter.name
            assert (scope, family, counter.label) not in seen
            seen.add((scope, family, counter.label))


def test_columns_are_unique_and_counted_where_they_are_shown() -> None:
    columns = [c.csv for c in COUNTERS.values() if c.csv]
    assert len(columns) == len(set(columns))
    for counter in COUNTERS.values():
        assert set(counter.csv_in) <= set(counter.scopes)


def test_constants_are_the_offsets() -> None:
    constants = {value for name, value in vars(layout).items() if name.isupper() and isinstance(value, int)}
    for counter in COUNTERS.values():
        assert counter.offset in constants, counter.name
    assert layout.offset("req_tot") == layout.REQ_TOT


def test_references_are_of_the_right_kind() -> None:
    for counter in COUNTERS.values():
        if counter.kind is Kind.RATE:
            assert COUNTERS[counter.of].kind is Kind.COUNTER
            assert set(counter.scopes) <= set(COUNTERS[counter.of].scopes), counter.name
            peak = next(c for c in COUNTERS.values() if c.of == counter.name)
            assert (peak.kind, peak.offset) == (Kind.MAX, counter.offset + 2)  # close_second relies on it
        elif counter.kind is Kind.MAX and counter.of:
            assert COUNTERS[counter.of].kind in (Kind.GAUGE, Kind.RATE)
        elif counter.kind is Kind.MEAN:
            assert counter.of == "times"


def test_the_nine_cells_of_times_stand_together() -> None:
    names = ["times", "qtime", "ctime", "rtime", "ttime", "qtime_max", "ctime_max", "rtime_max", "ttime_max"]
    assert [COUNTERS[name].offset for name in names] == list(range(layout.TIMES, layout.TIMES + 9))


def test_statuses_find_their_cell() -> None:
    assert [layout.HRSP[status // 100] for status in (100, 204, 302, 404, 503)] == [
        layout.HRSP_1XX,
        layout.HRSP_2XX,
        layout.HRSP_3XX,
        layout.HRSP_4XX,
        layout.HRSP_5XX,
    ]
    assert layout.HRSP[0] == layout.HRSP[999 // 100] == layout.HRSP_OTHER


def test_every_counter_of_the_error_table_exists() -> None:
    for error in ERRORS.values():
        if error.counter:
            assert COUNTERS[error.counter].kind is Kind.COUNTER


def test_every_counter_explains_itself() -> None:
    for counter in COUNTERS.values():
        assert counter.help.endswith("."), counter.name
        assert counter.scopes and set(counter.scopes) <= set("LFBSPW")


def test_declaring_twice_is_refused() -> None:
    with pytest.raises(RuntimeError, match="declared twice"):
        layout._declare("req_tot", Kind.COUNTER, "F", "x.")
