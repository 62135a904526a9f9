"""Clusters that are only described: read from a file, planned for, or run whole under a virtual clock."""
