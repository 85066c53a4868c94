"""master: the process that is started and stays. Binds and keeps the listening sockets, forks and watches the workers, reloads, checks
servers, answers the runtime CLI and the metrics endpoint. Never touches traffic.

``main`` is the entrance; ``master`` ties together ``supervisor`` (workers), ``listeners`` (sockets), ``reload``, ``desk`` (its own sockets:
``cli_server`` and ``endpoint``), ``health_runner``, ``shared`` (the segment) and ``logs``; ``spawn`` is where a fork happens, or does not
(``-d``); ``oldsocks`` speaks HAProxy's own exchange of sockets.
"""
