"""worker: the role that serves. Begins with what crossed the fork (``heritage``), runs the data plane on its loop (``main``), obeys the
master over one ``channel``, and survives it for a while (``handover``).
"""
