"""What all tests share: one compute thread, as the nodes of the tests have, since bits depend on it."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
