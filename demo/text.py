"""A tiny text encoder: one vector per word, by a word list and a small transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from demo.scenes import PALETTE, SHAPES

START, END = 0, 1
WORDS = ("a", *PALETTE, *SHAPES)
CONTEXT_WIDTH = 64
CONTEXT_LENGTH = 8


class UnknownPromptError(ValueError):
    """A prompt that the encoder has no words for."""


def tokenize(prompt: str) -> list[int]:
    """Token numbers of a prompt, padded with END to `CONTEXT_LENGTH`; the empty prompt is unconditional.

    Raises UnknownPromptError, naming the word and what is allowed, for a word that is not in `WORDS`, and for a
    prompt that is too long.
    """
    words = prompt.lower().split()
    for word in words:
        if word not in WORDS:
            raise UnknownPromptError(f"the demo's text encoder does not know {word!r}; it knows: {', '.join(WORDS)}")
    most = CONTEXT_LENGTH - 2
    if len(words) > most:
        raise UnknownPromptError(f"the demo's prompts have at most {most} words, this one has {len(words)}")
    tokens = [START, *(WORDS.index(word) + 2 for word in words)]
    return tokens + [END] * (CONTEXT_LENGTH - len(tokens))


class TextEncoder(nn.Module):
    """Prompts to a context of `CONTEXT_LENGTH` vectors of width `CONTEXT_WIDTH`."""

    def __init__(self, layers: int = 2, heads: int = 4) -> None:
        """Untrained weights, from torch's global random state."""
        super().__init__()
        self.token_embedding = nn.Embedding(len(WORDS) + 2, CONTEXT_WIDTH)
        self.position_embedding = nn.Parameter(torch.randn(CONTEXT_LENGTH, CONTEXT_WIDTH) * 0.1)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                CONTEXT_WIDTH, heads, 2 * CONTEXT_WIDTH, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.final_norm = nn.LayerNorm(CONTEXT_WIDTH)

    def forward(self, prompts: list[str]) -> Tensor:
        """The context of each prompt, (len(prompts), CONTEXT_LENGTH, CONTEXT_WIDTH).

        Raises UnknownPromptError for words outside the vocabulary.
        """
        tokens = torch.tensor([tokenize(prompt) for prompt in prompts], device=self.position_embedding.device)
        context: Tensor = self.token_embedding(tokens) + self.position_embedding
        for layer in self.layers:
            context = layer(context)
        normed: Tensor = self.final_norm(context)
        return normed
