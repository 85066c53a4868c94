"""What the proxies read in each case: one function per kind of file. Whatever haproxy 2.6 and forkproxy both understand may stand here, and
for the plain cases the same in the words of nginx."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.cases import Case

#: How many backends the routing cases have.
BACKENDS = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """Where one proxy of one case finds the world: its port, the origin's, the log sink, a socket for its runtime CLI, and a directory
    for further files."""

    port: int
    origin_port: int
    sink: Path
    cli: Path
    directory: Path
    workers: int = 1


def _head(case: Case, place: Place) -> str:
    text = (
        f"global\n    nbthread {place.workers}\n    maxconn 9900\n    stats socket {place.cli} mode 600 level admin\n    stats timeout 5m\n"
    )
    if case.logged:
        text += f"    log {place.sink} len 2048 local0\n"
    # Long enough for a client that was opened long before its first request: nothing may end by time here.
    text += f"defaults\n    mode {case.mode}\n    timeout connect 5s\n    timeout client 10m\n    timeout server 10m\n"
    if case.logged:
        text += "    timeout http-request 5m\n    timeout http-keep-alive 5m\n    log global\n    option httplog\n    option forwardfor\n"
    return text


def plain(case: Case, place: Place) -> str:
    """One frontend, one backend, ``case.servers`` servers (all of them the same origin)."""
    text = _head(case, place) + f"frontend bench\n    bind 127.0.0.1:{place.port}\n    default_backend origin\nbackend origin\n"
    if case.balance:
        text += f"    balance {case.balance}\n"
    if case.kind == "idle":
        text += "    http-reuse always\n"  # what idles on the server's side is not the question
    return text + "".join(f"    server s{n} 127.0.0.1:{place.origin_port}\n" for n in range(case.servers))


def for_nginx(case: Case, place: Place) -> str:
    """What nginx reads for a case that :func:`plain` makes, in HTTP mode, with one server: the same log line as far as nginx knows it, and
    no idle connection closed because there are too many of them. Raises ValueError for any other case."""
    if case.config is not plain or case.mode != "http" or case.servers != 1 or case.kind not in ("load", "steady") or place.workers != 1:
        raise ValueError(f"nginx has no file for {case.name}")
    log, forwarded = "off", ""
    if case.logged:
        log = f"syslog:server=unix:{place.sink},facility=local0,nohostname http"
        forwarded = "proxy_set_header X-Forwarded-For $remote_addr;"
    return f"""\
daemon off;
master_process off;
pid {place.cli}.pid;
worker_rlimit_nofile 30000;
events {{ worker_connections 20000; }}
http {{
    log_format http '$remote_addr:$remote_port [$time_local] bench origin/s0 $request_time/$upstream_response_time $status $bytes_sent '
        '$connections_active "$request"';
    access_log {log};
    keepalive_requests 1000000000;
    keepalive_timeout 10m;
    client_body_temp_path {place.directory};
    proxy_temp_path {place.directory};
    fastcgi_temp_path {place.directory};
    uwsgi_temp_path {place.directory};
    scgi_temp_path {place.directory};
    upstream origin {{ server 127.0.0.1:{place.origin_port}; keepalive 10000; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{place.port} backlog=4096;
        location / {{
            client_max_body_size 4m;
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            {forwarded}
        }}
    }}
}}
"""


def production(_case: Case, place: Place) -> str:
    """What stands in front of a shop: names, deny rules, a rate limit, rewrites, captures, persistence by cookie, checks."""
    servers = "".join(f"    server app{n} 127.0.0.1:{place.origin_port} cookie app{n} check weight 100\n" for n in range(1, 5))
    return f"""\
global
    nbthread {place.workers}
    maxconn 9900
    log {place.sink} len 2048 local0
    stats socket {place.cli} mode 600 level admin
defaults
    mode http
    log global
    option httplog
    option dontlognull
    option forwardfor
    option redispatch
    retries 3
    timeout connect 5s
    timeout client 10m
    timeout server 10m
    timeout http-request 5m
    timeout http-keep-alive 5m
    timeout queue 30s
    default-server inter 5s fall 3 rise 2
frontend www
    bind 127.0.0.1:{place.port}
    capture request header Host len 64
    capture request header User-Agent len 96
    capture response header Content-Type len 32
    acl host_api hdr(host) -i api.example.com
    acl host_bare hdr(host) -i example.com
    acl is_api path_beg /api/
    acl is_static path_beg /img/ /css/ /js/ /static/
    acl is_static path_end .css .js .png .svg .woff2
    acl is_admin path_beg /admin /internal
    acl from_inside src 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16
    acl bad_agent hdr_sub(user-agent) -i sqlmap nikto masscan
    acl bad_method method TRACE CONNECT
    http-request track-sc0 src table clients
    http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 100000000 }}
    http-request deny if bad_agent or bad_method
    http-request deny if is_admin !from_inside
    http-request redirect prefix http://www.example.com code 301 if host_bare
    http-request replace-path ^/shop/(.*) /\\1
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Real-IP %[src]
    http-request del-header X-Debug
    http-response set-header X-Content-Type-Options nosniff
    http-response set-header X-Frame-Options SAMEORIGIN
    http-response del-header Server
    use_backend api if host_api or is_api
    use_backend static if is_static
    default_backend app
backend clients
    stick-table type ip size 100k expire 10m store http_req_rate(10s),conn_cur
backend app
    balance leastconn
    cookie SRV insert indirect nocache httponly
    option httpchk GET /health
{servers}\
backend api
    balance roundrobin
    option httpchk GET /health
    http-request set-header X-Api yes
    server api1 127.0.0.1:{place.origin_port} check
    server api2 127.0.0.1:{place.origin_port} check
backend static
    http-response set-header Cache-Control "public, max-age=3600"
    server static1 127.0.0.1:{place.origin_port} check
"""


def host(number: int) -> str:
    """The name of a host of the routing cases."""
    return f"shop{number}.example.com"


def by_map(case: Case, place: Place) -> str:
    """A thousand backends, chosen by host through a map."""
    table = place.directory / f"{case.name}.map"
    table.write_text("".join(f"{host(n)} be{n}\n" for n in range(BACKENDS)))
    choice = f"    use_backend %[req.hdr(host),lower,map({table},be0)]\n"
    return _head(case, place) + f"frontend bench\n    bind 127.0.0.1:{place.port}\n" + choice + _backends(place)


def by_lines(case: Case, place: Place) -> str:
    """A thousand backends, chosen by host, a line for each."""
    lines = "".join(f"    use_backend be{n} if {{ hdr(host) -i {host(n)} }}\n" for n in range(BACKENDS))
    return _head(case, place) + f"frontend bench\n    bind 127.0.0.1:{place.port}\n" + lines + _backends(place)


def _backends(place: Place) -> str:
    return "".join(f"backend be{n}\n    server s 127.0.0.1:{place.origin_port}\n" for n in range(BACKENDS))


def tracked(case: Case, place: Place) -> str:
    """A stick table of ``case.entries``, one of them tracked by each request, with a rate limit that nobody reaches."""
    size = case.entries + case.entries // 8 + 64
    return (
        _head(case, place) + f"frontend bench\n    bind 127.0.0.1:{place.port}\n"
        f"    stick-table type string len 16 size {size} expire 30m store gpc0,http_req_rate(60s)\n"
        "    http-request track-sc0 url_param(id)\n    http-request deny deny_status 429 if { sc_http_req_rate(0) gt 100000000 }\n"
        "    default_backend origin\n"
        f"backend origin\n    server origin 127.0.0.1:{place.origin_port}\n"
    )
