"""net: file descriptors. The loop with its timers (``loop``), listening sockets (``listening``) and those of connections (``sockets``,
``connection``), pipes for splicing (``pipes``), descriptors passed between processes (``fds``), what systemd hands over and wants to
hear (``notify``), log targets that never block (``logsink``).

Knows addresses and bytes; no message, no rule and no configuration.
"""
