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
from torch.nn import functional
from torch.utils.data import TensorDataset
from transformers import GPT2Config, GPT2LMHeadModel

from edged import Job

LENGTH = 32
"""Tokens of one sample."""


# 1. Your text, as numbers of tokens. A model from a folder has its tokenizer there:
#    `AutoTokenizer.from_pretrained("FOLDER")(text)["input_ids"]`. Here, each byte is a token.
def tokens() -> torch.Tensor:
    """One after the other."""
    text = "".join(f"{a} and {b} make {a + b}. " for a in range(20) for b in range(20))
    return torch.tensor(list(text.encode()))


def data() -> tuple[TensorDataset, TensorDataset]:
    """Samples of ``LENGTH`` tokens; every tenth is held out."""
    samples = tokens()
    samples = samples[: len(samples) // LENGTH * LENGTH].view(-1, LENGTH)
    held_out = torch.arange(len(samples)) % 10 == 0
    return TensorDataset(samples[~held_out]), TensorDataset(samples[held_out])


# 2. Your model. One that lies in a folder is trained further with
#    `AutoModelForCausalLM.from_pretrained("FOLDER", use_cache=False).train()`.
def network() -> nn.Module:
    """Without a cache of keys and values, which is for writing, not for training."""
    torch.manual_seed(0)  # of the first weights
    config = GPT2Config(
        vocab_size=256, n_positions=LENGTH, n_embd=64, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0,
        use_cache=False,
    )  # fmt: skip
    model: nn.Module = GPT2LMHeadModel(config)
    return model


def loss(model: nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
    """Mean surprise at the next token."""
    (written,) = batch
    scores = model(input_ids=written).logits
    return functional.cross_entropy(scores[:, :-1].flatten(0, 1), written[:, 1:].flatten())


# 3. How it is trained. `--set epochs=5` or `--set optimizer.lr=0.0001` changes such numbers for one run.
def job() -> Job:
    """What `edged train` runs."""
    training, held_out = data()
    return Job(
        name="sums",
        model=network(),
        objective=loss,
        data=training,
        eval_data=held_out,
        optimizer=partial(torch.optim.AdamW, lr=0.003),
        clip_norm=1.0,
        batch_size=16,
        micro_batches=4,
        epochs=3,
    )
