"""Why something that HAProxy has is not here: one reason for each group of names, for the reference and for messages.

By pattern, so that a keyword that comes needs no change here; the first row that fits counts. A test sees to it that every name of
``config.known`` that is missing has a reason.
"""

from __future__ import annotations

import re
from functools import cache

TLS = "Needs TLS, which forkproxy does not have yet"
QUIC = "Needs QUIC"
HTTP2 = "Needs HTTP/2"
DNS = "Needs DNS resolution at run time (resolvers)"
LATER = "Not done yet"
INSIDE = "About the inside of HAProxy; forkproxy has `show profiling`, `show fd`, `show tasks`, and Python's tools"

#: (kinds, names, why): both are expressions that must match as a whole
REASONS: tuple[tuple[str, str, str], ...] = (
    ("proxy|bind|server|fetch", r"quic.*", QUIC),
    ("server", r"check-pool-conn-name|check-reuse-pool|pool-conn-name", "Names of connections in a pool, which come with TLS"),
    (".*", r"(.* )?acme.*|.*ssl.*|.*tlsv?\d\d|.*tls-(tickets?|keys?).*|tls-.*|show tls-keys|.*jwt|x509_.*|ciphers.*|.*crt.*|crl-.*", TLS),
    ("bind|server", r"ca-.*|.*alpn|npn|.*sni(-auth?|-auto)?|.*sigalgs|curves|ecdhe|ech|ktls|verify|verifyhost|no-verifyhost", TLS),
    ("bind|server", r"allow-0rtt|generate-certificates|no-ca-names|prefer-client-ciphers|(no-)?renegotiate", TLS),
    ("action .*", "wait-for-handshake", TLS),
    ("bind|server", r"nbconn|healthcheck|label", "Reverse HTTP and named checks are not there"),
    ("action .*", "attach-srv", "Reverse HTTP needs HTTP/2"),
    ("bind|server|fetch|action .*", r"ws|check-proto|idle-ping", HTTP2),
    ("fetch", ".*glitches", "Glitches of protocols are not counted"),
    ("section|server|cli|action .*", r"resolvers|resolve-.*|show resolvers|do-resolve", DNS),
    ("section|filter|fetch|cli|action .*", r"cache|cache-.*|res\.cache.*|show cache", "Responses are not cached"),
    ("proxy|filter|fetch", r"compression|comp-.*|res\.comp.*", "Responses are not compressed yet"),
    ("filter|fetch|action .*", r"spoe.*|send-spoe-group", "Needs the protocol of an agent (SPOE)"),
    ("section|proxy|filter|fetch", r".*fcgi.*", "FastCGI is not spoken"),
    ("section|cli", r"peers|show peers", "Stick tables are shared by the workers of one machine only"),
    ("section|proxy", r"mailers|email-alert.*", "Deprecated in HAProxy; mail is for who reads the log"),
    ("section", "log-forward", "Log lines are not received"),
    ("section|server", r"log-bufsize|log-proto|shard", "Belongs to log servers and peers"),
    ("section", "program", "Deprecated in HAProxy; systemd starts programs"),
    ("section|filter|cli", r"traces|trace|show trace", INSIDE),
    ("ring", "backing-file", "A ring that outlives its process is a log file"),
    ("global", r"lua-.*", "Rules are not extended in Lua"),
    ("global", r"51degrees-.*|deviceatlas-.*|wurfl-.*", "Needs the library of a vendor"),
    ("global", r"harden\..*|setcap|pp2-never-send-local", LATER),
    ("bind|server", r"tcp-md5sig|cc", LATER),
    ("bind|server", r"accept-netscaler-cip|socks4|check-via-socks4", "An old way to tell addresses; the PROXY protocol is there"),
    ("server", r"set-proxy-v2-tlv-fmt", LATER),
    ("fetch", r"internal\..*|cpu_.*|lat_.*|[bf]s\.debug_str|term_events", INSIDE),
    ("converter", r"mqtt_.*|protobuf|ungrpc", "A protocol that nobody has asked for"),
    ("action .*", "use-service", "HAProxy's services for TCP are written in Lua"),
    ("cli", r"debug .*", INSIDE),
    ("cli", r"_.*", "What HAProxy's master and worker say to each other"),
)


@cache
def _compiled() -> tuple[tuple[re.Pattern[str], re.Pattern[str], str], ...]:
    return tuple((re.compile(kinds), re.compile(names), why) for kinds, names, why in REASONS)


def why(kind: str, name: str) -> str:
    """Why ``name`` of a kind of ``config.known`` is missing, as a phrase; "" when nobody knows."""
    return next((text for kinds, names, text in _compiled() if kinds.fullmatch(kind) and names.fullmatch(name)), "")
