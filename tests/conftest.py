"""For all tests: what a process inherits from its starter must not decide what a test sees."""

from __future__ import annotations

import signal

# A shell starts background jobs with SIGINT ignored, and a child would inherit that: with a handler here it gets the default back.
signal.signal(signal.SIGINT, signal.default_int_handler)
