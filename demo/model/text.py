"""The WebUI's CLIP text encoder, narrow and shallow."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from demo.model.layouts import TEXT_FOLDER


@cache
def tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer, from this folder's vocabulary."""
    return CLIPTokenizer.from_pretrained(str(TEXT_FOLDER))


class TextEncoder(nn.Module):
    """Prompts to vectors, under the key names of `FrozenCLIPEmbedder`."""

    def __init__(self) -> None:
        """Untrained weights, from torch's global random state."""
        super().__init__()
        self.transformer = CLIPTextModel(CLIPTextConfig.from_pretrained(str(TEXT_FOLDER)))

    @property
    def width(self) -> int:
        """Length of a vector."""
        return int(self.transformer.config.hidden_size)

    def forward(self, prompts: Sequence[str]) -> Tensor:
        """The last hidden states (len(prompts), 77, width); longer prompts are cut."""
        tokens = tokenizer()(list(prompts), padding="max_length", truncation=True)["input_ids"]
        hidden: Tensor = self.transformer(input_ids=torch.tensor(tokens)).last_hidden_state
        return hidden
