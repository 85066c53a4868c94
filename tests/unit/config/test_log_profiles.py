"""``log-profile`` sections, the lines and rules that name them, and ``log-steps``."""

from __future__ import annotations

import pytest

from forkproxy.rules.logprofile import LogProfile
from tests.unit.config.reading import alerts, good, read, warnings

TEXT = """global
 log-tag general
 log 127.0.0.1:1 profile tagged local0
defaults
 mode http
 timeout connect 1s
 timeout client 1s
 timeout server 1s
 log global
log-profile tagged
 log-tag mine
 on any drop
log-profile ruled
 on http-req format ruled
 on close format "a b" sd "[x]"
log-profile nobodys
 on any format %[nonsense]
frontend f
 bind 127.0.0.1:1
 log 127.0.0.1:2 local0
 log-steps accept,close
 default_backend b
frontend g
 bind 127.0.0.1:2
 log-steps all
 http-request do-log profile tagged
frontend h
 bind 127.0.0.1:3
 no log
backend b
 http-response do-log profile ruled
 server s 127.0.0.1:1
"""


def test_profiles() -> None:
    plan = good(TEXT, timeouts=False)
    f, g, h = plan.frontends
    assert [(t.profile, t.tag) for t in f.log_targets] == [("tagged", "mine"), ("", "general")]
    profiles: dict[str, LogProfile] = f.capabilities["log-profiles"]
    assert set(profiles) == {"tagged", "ruled"}, "its own, and those of a backend's rules"
    dropped, ruled = profiles["tagged"].at("connect"), profiles["ruled"].at("http-req")
    assert dropped is not None and dropped.drop
    assert ruled is not None and ruled.format is not None and ruled.format(None) == b"ruled" and ruled.sd is None
    assert profiles["ruled"].at("connect") is None and profiles["ruled"].structured and not profiles["tagged"].structured
    assert f.capabilities["log-steps"] == {"accept", "close"}
    assert g.capabilities["log-steps"] == {"accept", "request", "connect", "response", "close"} and not f.log_on_connect
    assert "log-profiles" not in h.capabilities, "it has nowhere to log to"
    assert not any(name.startswith("log-profile/") for name in plan.objects)


@pytest.mark.parametrize(
    ("lines", "message", "column", "hint"),
    [
        ("log-profile p\n on", "'on' expects <step>", 4, ""),
        ("log-profile p\n on acept drop", "unknown step 'acept'", 5, "accept"),
        ("log-profile p\n on quic-init drop", "'quic-init' is known to HAProxy", 5, ""),
        ("log-profile p\n on close", "'on close' expects 'drop', 'format <format>' or 'sd <format>'", 10, ""),
        ("log-profile p\n on close form x", "unexpected 'form'", 11, ""),
        ("log-profile p\n on close format", "'format' expects a format", 17, ""),
        ("log-profile p\n log-tag", "'log-tag' expects <tag>", 9, ""),
        ("log-profile p\nlog-profile p", "same name as another log-profile", 13, ""),
        ("frontend f\n bind :1\n log 127.0.0.1 profile pp local0\nlog-profile p", "log-profile 'pp' is declared nowhere", 24, "p"),
        ("frontend f\n bind :1\n log 127.0.0.1 profile", "'profile' expects the name of a log-profile", 23, ""),
        ("frontend f\n bind :1\n tcp-request content do-log profile pp\nlog-profile p", "unable to find log-profile 'pp'", 37, ""),
        ("frontend f\n bind :1\n log-steps", "'log-steps' expects <steps>", 11, ""),
        ("frontend f\n bind :1\n log-steps accept,error", "unknown step 'error'", 12, ""),
        ("frontend f\n bind :1\n log 127.0.0.1 profile p local0\nlog-profile p\n on close format %[nonsense]",
         "failed to parse on close format : unknown fetch method 'nonsense'", 18, ""),
    ],
)  # fmt: skip
def test_mistakes(lines: str, message: str, column: int, hint: str) -> None:
    found = [m for m in read(lines + "\n").diagnostics.messages if message in m.text]
    assert len(found) == 1, alerts(lines + "\n")
    assert found[0].column == column and found[0].line and hint in found[0].text


def test_steps_of_a_backend() -> None:
    assert warnings("backend b\n log-steps all\n") == ["'log-steps' ignored because backend 'b' has no frontend capability."]
