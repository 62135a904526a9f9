"""The sizes of cluster that must agree."""

SLOWDOWNS = {1: (1.0,), 2: (1.0, 1.0), 3: (1.0, 2.0, 1.5), 5: (1.0, 1.0, 2.0, 1.0, 1.5)}
"""Number of nodes -> how slow each is; unequal speeds give unequal cuts."""
