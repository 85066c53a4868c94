"""wire: byte formats other than HTTP, sans I/O: the PROXY protocol, TLS ClientHello, syslog lines.

Functions from bytes to values and back; no socket, clock or configuration is known here.
"""
