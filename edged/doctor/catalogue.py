"""Every id that a finding may have, by part, and why it matters. ``docs/troubleshooting.md`` repeats it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

DEVICE, NETWORK, CLUSTER = "this device", "network", "cluster"

PARTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        DEVICE: {
            "python": "edged needs Python 3.11 or newer, and torch has no wheel for 32 bits",
            "torch": "layers run in torch; a node imports it when it starts",
            "torch-missing": "without torch a node cannot run layers",
            "torch-illegal-instruction": "this torch uses instructions that this processor lacks: a node dies when"
            " it starts",
            "torch-broken": "a node that cannot import torch cannot run layers",
            "torch-version": "other versions of torch are not supported, or known to be broken",
            "torch-cuda-wheel": "a wheel made for CUDA brings gigabytes that this device cannot use, or the other way"
            " round",
            "torch-slow": "a node runs layers only once it has imported torch",
            "device": "a node computes on the device that its options name, or does not start",
            "memory": "layers, their gradients and what is in flight must fit into what is free",
            "memory-limit": "what exceeds the limit of its group is killed without a word",
            "memory-option": "a plan may count on the memory that the options name",
            "threads": "more compute threads than cores slow a step down, and equal bits need equal numbers",
            "clock": "logs and events of several devices are compared by their times",
            "open-files": "each peer takes a few open files, and so does each copy of layers on the disk",
            "disk": "copies of layers and samples, results and the journal lie in the home",
            "file-system": "what lies in the home must survive a restart, and locks must work",
            "home": "identity, key and copies lie in the home; another user's files cannot be used",
            "home-permissions": "who can read the key or the identity can join in this node's name",
            "key": "the cluster key lets nodes join; a node without one makes a cluster of its own",
            "config": "a node does not start with an option that it does not understand",
            "config-variable": "a misspelt variable does nothing",
        },
        NETWORK: {
            "interfaces": "other devices can only be reached through an interface that leads to them",
            "interfaces-skipped": "addresses of bridges and tunnels are not told to others, as nobody is behind them",
            "multicast": "without multicast nodes do not find each other by themselves",
            "ports": "a node listens on three ports",
            "metrics-port": "a node does not start if it cannot serve what it is to serve",
            "others": "one network is trained by several devices",
            "others-key": "a door opens only to its own cluster key",
            "others-silent": "an address that does not answer leads to nobody",
            "others-twin": "two processes with one identity cannot both be members",
            "others-version": "nodes of different protocols do not understand each other",
            "firewall": "a firewall that drops the three ports or UDP port 5353 keeps others out",
        },
        CLUSTER: {
            "node": "leader, members and links can be looked at only through a node that runs",
            "leader": "nothing is planned without a leader",
            "members": "a member that does not answer computes nothing",
            "links": "a slow answer delays every micro-batch that crosses the link",
            "job-links": "a link that cannot carry a step's data in a step's time makes all wait",
            "unmet-expelled": "this node was shut out of its cluster",
            "unmet-twin": "two processes with one identity cannot both be members",
            "unmet-key": "a door opens only to its own cluster key",
            "unmet-version": "nodes of different protocols do not understand each other",
            "unmet-refused": "a node let this one knock and then turned it away",
            "unmet-unreachable": "an address that does not answer leads to nobody",
            "unmet-multicast": "without multicast nodes do not find each other by themselves",
            "unmet-cluster": "nodes with another key or cluster name stay apart",
            "unmet-nobody": "training on several devices takes more than one",
        },
    }
)

WHY: Mapping[str, str] = MappingProxyType({key: why for part in PARTS.values() for key, why in part.items()})
