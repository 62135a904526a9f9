"""A job for edged: a language model of Hugging Face's. It needs `pip install transformers`.

It trains as it stands: a small model that knows nothing yet, on sums in words. Change what is numbered, 1 to 3, and try
it after each change:

    edged train THIS_FILE --local      on this device alone: the way to debug
    edged train THIS_FILE              on all devices of the cluster; the weights are the same, bit for bit

Only this device needs transformers; the others get the captured model and micro-batches of tensors.
"""

from functools import partial

import torch
from torch import nn
from torch.utils.data import TensorDataset
from transformers import GPT2Config, GPT2LMHeadModel

from edged import Job

LENGTH = 32
"""Tokens of one sample."""


# 1. Your text, as numbers of tokens. A model from a folder has its tokenizer there:
#    `AutoTokenizer.from_pretrained("FOLDER")(text)["input_ids"]`. Here, each byte is a token.
def tokens() -> torch.Tensor:
    """One after the other."""
    text = "".join(f"{a} and {b} make {a + b}. " for a in range(30) for b in range(30))
    return torch.tensor(list(text.encode()))


def data() -> tuple[TensorDataset, TensorDataset]:
    """Samples of ``LENGTH`` tokens; every tenth is held out."""
    samples = tokens()
    samples = samples[: len(samples) // LENGTH * LENGTH].view(-1, LENGTH)
    held_out = torch.arange(len(samples)) % 10 == 0
    return TensorDataset(samples[~held_out]), TensorDataset(samples[held_out])


# 2. Your model. One that lies in a folder is trained further with
#    `AutoModelForCausalLM.from_pretrained("FOLDER", use_cache=False)`.
def model() -> nn.Module:
    """Without a cache of keys and values, which is for writing, not for training."""
    torch.manual_seed(0)  # of the first weights
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=256, n_positions=LENGTH, n_embd=64, n_layer=4, n_head=4, bos_token_id=0, eos_token_id=0,
            loss_type="ForCausalLM", use_cache=False,
        )
    ).train()  # fmt: skip


def loss(model: nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
    """Mean surprise at the next token."""
    surprise: torch.Tensor = model(input_ids=batch[0], labels=batch[0]).loss
    return surprise


# 3. How it is trained. `--set epochs=5` or `--set optimizer.lr=0.0001` changes such numbers for one run.
def job() -> Job:
    """What `edged train` runs."""
    training, held_out = data()
    return Job(
        name="sums",
        model=model(),
        objective=loss,
        data=training,
        eval_data=held_out,
        optimizer=partial(torch.optim.AdamW, lr=0.003),
        clip_norm=1.0,
        batch_size=32,
        micro_batches=4,
        epochs=3,
    )
