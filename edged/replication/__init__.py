"""Snapshots, their store, and who holds what."""
