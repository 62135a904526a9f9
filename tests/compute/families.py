"""Small models of the families in transformers, each as it would be trained, and what loads its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers as t
from torch import Tensor, nn
from torch.nn import functional

KINDS, LENGTH, SIDE = 60, 12, 32
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = {**SIZES, "vocab_size": KINDS, "max_position_embeddings": 32}
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}


@dataclass(frozen=True)
class Family:
    """``build`` makes the model, ``batch`` a batch of so many samples, ``auto`` loads its folder."""

    build: Callable[[], nn.Module]
    objective: Callable[[nn.Module, Any], Tensor]
    batch: Callable[[int], Any]
    auto: Any


def _texts(size: int) -> dict[str, Tensor]:
    """Texts of several lengths, padded, with two classes."""
    words = torch.randint(5, KINDS, (size, LENGTH), generator=torch.Generator().manual_seed(0))
    lengths = 4 + torch.arange(size).unsqueeze(1) % (LENGTH - 4)
    return {"words": words, "mask": (torch.arange(LENGTH) < lengths).long(), "label": torch.arange(size) % 2}


def _pictures(size: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"pixels": torch.randn(size, 3, SIDE, SIDE, generator=generator), "label": torch.arange(size) % 2}


def _class_of_text(model: nn.Module, batch: Any) -> Tensor:
    scores = model(input_ids=batch["words"], attention_mask=batch["mask"]).logits
    return functional.cross_entropy(scores, batch["label"])


def _class_of_picture(model: nn.Module, batch: Any) -> Tensor:
    return functional.cross_entropy(model(pixel_values=batch["pixels"]).logits, batch["label"])


def _words(model: nn.Module, batch: Any) -> Tensor:
    return model(input_ids=batch["words"], attention_mask=batch["mask"], labels=batch["words"]).loss


def _classifier(model: type, config: Any) -> Family:
    return Family(lambda: model(config), _class_of_text, _texts, t.AutoModelForSequenceClassification)


def _writer(model: type, config: Any, auto: Any = t.AutoModelForCausalLM) -> Family:
    return Family(lambda: model(config), _words, _texts, auto)


def _seer(model: type, config: Any) -> Family:
    return Family(lambda: model(config), _class_of_picture, _pictures, t.AutoModelForImageClassification)


FAMILIES: Mapping[str, Family] = {
    "bert": _classifier(t.BertForSequenceClassification, t.BertConfig(**TEXT)),
    "bert-tied": _writer(t.BertForMaskedLM, t.BertConfig(**TEXT), t.AutoModelForMaskedLM),
    "roberta": _classifier(t.RobertaForSequenceClassification, t.RobertaConfig(**TEXT)),
    "distilbert": _classifier(
        t.DistilBertForSequenceClassification,
        t.DistilBertConfig(
            vocab_size=KINDS, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=32
        ),
    ),
    "electra": _classifier(t.ElectraForSequenceClassification, t.ElectraConfig(**TEXT, embedding_size=16)),
    "albert": _classifier(t.AlbertForSequenceClassification, t.AlbertConfig(**TEXT, embedding_size=8)),
    "deberta": _classifier(
        t.DebertaV2ForSequenceClassification,
        t.DebertaV2Config(**TEXT, relative_attention=True, pos_att_type=["p2c", "c2p"]),
    ),
    "modernbert": _classifier(t.ModernBertForSequenceClassification, t.ModernBertConfig(**TEXT, **TOKENS)),
    "gpt2-tied": _writer(
        t.GPT2LMHeadModel,
        t.GPT2Config(
            n_layer=2, n_embd=16, n_head=2, vocab_size=KINDS, n_positions=32, bos_token_id=0, eos_token_id=0
        ),
    ),
    "llama": _writer(t.LlamaForCausalLM, t.LlamaConfig(**TEXT, num_key_value_heads=2)),
    "qwen2": _writer(t.Qwen2ForCausalLM, t.Qwen2Config(**TEXT, num_key_value_heads=2)),
    "mixtral": _writer(
        t.MixtralForCausalLM,
        t.MixtralConfig(
            **TEXT, num_key_value_heads=2, num_local_experts=2, experts_implementation="batched_mm"
        ),
    ),
    "t5-tied": _writer(
        t.T5ForConditionalGeneration,
        t.T5Config(
            vocab_size=KINDS, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0
        ),
        t.AutoModelForSeq2SeqLM,
    ),
    "vit": _seer(t.ViTForImageClassification, t.ViTConfig(**SIZES, image_size=SIDE, patch_size=8)),
    "resnet": _seer(
        t.ResNetForImageClassification,
        t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
    ),
}  # fmt: skip
