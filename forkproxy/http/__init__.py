"""http: HTTP/1 without I/O. Bytes in, messages out; knows no socket, clock, configuration or counter.

``reader`` parses a head (fast road: one compiled expression per message), ``careful`` is the slow road that understands
everything odd and names what is wrong, ``framing`` decides in one pure function where a body ends, ``message`` holds the
parsed head as slices of the received bytes, ``body`` validates and re-frames chunks, ``writer`` makes local messages,
``grammar`` has the character sets and small expressions that they share.

What is tolerated and what is refused is written down, sentence by sentence, in ``tests/wire/http_samples.py``.
"""
