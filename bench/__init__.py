"""Benchmarks: ``python -m bench`` (forkproxy and haproxy side by side), ``python -m bench --profile CASE`` (forkproxy under py-spy).

Method: the proxy under test is pinned to core 0; load generator (wrk), origin (nginx) and log sink share core 1. All sides read
the same file and run with one worker or thread. Before anything is measured each side is asked a few things whose answers are known.
Rounds alternate (A B A B …), results are medians. CPU is user and system time of the proxy's whole process tree, per request. The log
sink's queue is short: lines that find it full are dropped by either proxy at the price of a failed system call, therefore the table says
how many arrived.
"""
