"""What the command line said, as one frozen value; everything else is in the configuration. Knows nothing of how it is parsed."""

from __future__ import annotations

from forkproxy.values import frozen


@frozen
class Options:
    """Parsed command line (management manual, chapter 3). None or 0 in a number means "not given"."""

    files: tuple[str, ...] = ()  # -f and --, in order, directories not yet expanded
    change_dir: str = ""  # -C, already in force when load() runs
    check: bool = False  # -c
    condition: str | None = None  # -cc
    daemon: bool = False  # -D
    master_worker: bool = False  # -W or -Ws
    notify: bool = False  # -Ws: tell systemd even when Type=notify is all there is
    foreground: bool = False  # -db: no background; a single run without reloads by signal
    debug: bool = False  # -d: one process, one loop, in the foreground
    diag: bool = False  # -dD
    verbose: bool = False  # -V
    quiet: bool = False  # -q
    zero_warning: bool = False  # -dW
    dump_keywords: tuple[str, ...] = ()  # -dK
    dump_config: str | None = None  # -dC, the key or ""
    list_libraries: bool = False  # -dL
    ignore_resolution: bool = False  # -dr
    no_server_verify: bool = False  # -dV
    no_splice: bool = False  # -dS, -dZ, -dF
    no_reuseport: bool = False  # -dR
    memory_limit_mb: int = 0  # -m
    maxconn: int = 0  # -n
    proxy_maxconn: int = 0  # -N
    localpeer: str = ""  # -L
    pidfile: str = ""  # -p
    sf_pids: tuple[int, ...] = ()  # -sf
    st_pids: tuple[int, ...] = ()  # -st
    x_socket: str = ""  # -x
    master_sockets: tuple[str, ...] = ()  # -S, each "address[,option…]" as written
