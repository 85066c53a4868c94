"""state: the only owner of shared memory. One table says what is counted (``layout``); the segment is mapped before the first fork
(``segment``); names have rows that outlive reloads (``names``); every process writes its own slot and reads all (``counters``, ``rates``);
servers' states are the master's to write (``servers``).

Knows cells and names; nothing of who counts, and nothing of what a number looks like when it is shown (that is ``stats``).
"""
