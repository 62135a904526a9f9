"""Copies of layers that outlive a node: how often they are made, the copies as values, and their place on the disk.

``policy`` and ``snapshots`` are pure; ``store`` reads and writes files. Nothing here imports torch.
"""
