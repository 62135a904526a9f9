"""The random state belongs to the process: drawing samples on one thread changes nothing that others draw from it."""

import random
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from edged.compute.job_file import load
from edged.compute.local import train_local
from edged.compute.sampling import Sampler
from edged.core.job import Phase, Work
from edged.job import Job

FILE = """
from functools import partial

import torch
from torch import nn
from edged import Job

def job(seed: int = 7):
    torch.manual_seed(seed)
    PAUSE()
    return Job(
        name="n",
        model=nn.Linear(4, 3),
        objective=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
        data=[(torch.ones(4), torch.tensor(1))] * 8,
        optimizer=partial(torch.optim.SGD, lr=0.1),
        batch_size=4,
    )
"""
MEANWHILE_SECONDS = 0.2


def dropping() -> Job:
    torch.manual_seed(1)
    return Job(
        name="n",
        model=nn.Sequential(nn.Linear(4, 16), nn.Dropout(), nn.Linear(16, 3)),
        objective=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
        data=[(torch.ones(4), torch.tensor(1))] * 8,
        optimizer=partial(torch.optim.SGD, lr=0.1),
        batch_size=4,
    )


def test_samples_that_another_thread_draws_wait_while_a_job_file_makes_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "job.py"
    path.write_text(FILE.replace("PAUSE()", "pass"))
    alone = load(str(path)).model.weight.detach().clone()
    sampler, drawn = Sampler(dropping()), threading.Event()
    threads = []

    def meanwhile() -> None:
        def draw() -> None:
            sampler.draw(Work(0, Phase.TRAIN, 0))
            drawn.set()

        threads.append(threading.Thread(target=draw))
        threads[0].start()
        assert not drawn.wait(MEANWHILE_SECONDS)

    monkeypatch.setattr(torch, "_meanwhile", meanwhile, raising=False)
    path.write_text(FILE.replace("PAUSE()", "torch._meanwhile()"))
    assert torch.equal(load(str(path)).model.weight, alone)
    threads[0].join(60)
    assert drawn.is_set()


def test_training_here_leaves_the_random_state_as_it_was() -> None:
    job = dropping()
    before = torch.get_rng_state(), random.getstate()
    train_local(job)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
