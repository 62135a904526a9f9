"""Journal, counters, logs."""
