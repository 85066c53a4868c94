"""Programs for those who work on forkproxy; nothing here is installed."""
