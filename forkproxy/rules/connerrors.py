"""What goes wrong with connections before or below the protocol that they carry: numbers, names and texts (manual 7.3.3 "fc_err_str").

Only what can happen here: no TLS, no SOCKS. Knows numbers of the system's errors.
"""

from __future__ import annotations

import errno

SOCK_ERR = 6
PRX_EMPTY, PRX_ABORT, PRX_TIMEOUT, PRX_TRUNCATED, PRX_NOT_HDR, PRX_BAD_HDR, PRX_BAD_PROTO = range(11, 18)

#: number → (name, text)
ERRORS: dict[int, tuple[str, str]] = {
    0: ("", "Success"),
    2: ("PROC_FDLIM", "Too many sockets on the process"),
    3: ("SYS_FDLIM", "Too many sockets on the system"),
    4: ("SYS_MEMLIM", "Out of system buffers"),
    5: ("NOPROTO", "Protocol or address family not supported"),
    SOCK_ERR: ("SOCK_ERR", "General socket error"),
    8: ("CANT_BIND", "Can't bind to source address"),
    9: ("FREE_PORTS", "Out of local source ports on the system"),
    10: ("ADDR_INUSE", "Local source address already in use"),
    PRX_EMPTY: ("PRX_EMPTY", "Connection closed while waiting for PROXY protocol header"),
    PRX_ABORT: ("PRX_ABORT", "Connection error while waiting for PROXY protocol header"),
    PRX_TIMEOUT: ("PRX_TIMEOUT", "Timeout while waiting for PROXY protocol header"),
    PRX_TRUNCATED: ("PRX_TRUNCATED", "Truncated PROXY protocol header received"),
    PRX_NOT_HDR: ("PRX_NOT_HDR", "Received something which does not look like a PROXY protocol header"),
    PRX_BAD_HDR: ("PRX_BAD_HDR", "Received an invalid PROXY protocol header"),
    PRX_BAD_PROTO: ("PRX_BAD_PROTO", "Received an unhandled protocol in the PROXY protocol header"),
    46: ("EREFUSED", "ECONNREFUSED returned by OS"),
    47: ("ERESET", "ECONNRESET returned by OS"),
    48: ("EUNREACH", "ENETUNREACH returned by OS"),
    56: ("EPIPE", "EPIPE returned by OS"),
}
_NUMBERS = {
    errno.EMFILE: 2, errno.ENFILE: 3, errno.ENOBUFS: 4, errno.ENOMEM: 4, errno.EAFNOSUPPORT: 5, errno.EPROTONOSUPPORT: 5,
    errno.EADDRNOTAVAIL: 8, errno.EAGAIN: 9, errno.EADDRINUSE: 10, errno.ECONNREFUSED: 46, errno.ECONNRESET: 47, errno.ENETUNREACH: 48,
    errno.EHOSTUNREACH: 48, errno.EPIPE: 56,
}  # fmt: skip


def number(code: int | None) -> int:
    """The number for an error of the system."""
    return _NUMBERS.get(code or 0, SOCK_ERR)
