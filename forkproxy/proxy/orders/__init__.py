"""What a worker does when a command of the runtime CLI asks all workers for it: one file per topic, each registered by ``registry.order``.

Loaded before the fork where the configuration has a socket for commands. Knows the runtime; nothing of sockets, sessions or other workers.
"""
