"""What Hugging Face's ``save_pretrained`` writes beside a model's weights, so that ``from_pretrained`` takes both."""

from __future__ import annotations

import copy
import sys

from torch import nn


def pretrained_files(model: nn.Module) -> dict[str, str]:
    """The texts of these files by their names, for a model of transformers; nothing for any other.

    The weights themselves need no words here: their names in ``model.safetensors`` are those of the state dict (a tied
    weight may stand there under all of its names). transformers is not imported: a model of its has brought it along.
    """
    library = sys.modules.get("transformers.modeling_utils")
    if library is None or not isinstance(model, library.PreTrainedModel):
        return {}
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.dtype = str(model.dtype).removeprefix("torch.")
    files = {"config.json": config.to_json_string()}
    if model.can_generate() and model.generation_config is not None:
        files["generation_config.json"] = model.generation_config.to_json_string()
    return files
