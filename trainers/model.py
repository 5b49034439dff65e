"""A small decoder-only transformer, written out: rotary positions, pre-norm blocks, tied embeddings.

Vaswani et al. 2017 (attention), Su et al. 2021 (rotary positions, "RoFormer"), Radford et al. 2019 (pre-norm blocks).
Rotary positions are relative, so rows padded on the left need no position numbers of their own, only a mask.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stepgym.trainers.config import ModelConfig

Keep = Callable[[int, Tensor, Tensor], None]
"""Is given a layer's number, and its keys and values (B, H, T, D)."""


class Block(nn.Module):
    """Attention, then a feed-forward layer, each added to what came in."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.feed_norm = nn.LayerNorm(width, bias=False)
        self.feed_in = nn.Linear(width, 4 * width, bias=False)
        self.feed_out = nn.Linear(4 * width, width, bias=False)

    def forward(
        self, x: Tensor, rotary: Tensor, mask: Tensor | None, keep: Callable[[Tensor, Tensor], None] | None
    ) -> Tensor:
        """`x` (B, T, width) to the same shape; `rotary` (2, T, D); `mask` (B, 1, T, T), the causal one if None."""
        B, T, width = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        (q, k), v = rotate(qkv[:2], rotary), qkv[2]
        if keep is not None:
            keep(k, v)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        x = x + self.attention_out(y.transpose(1, 2).reshape(B, T, width))
        fed: Tensor = x + self.feed_out(F.silu(self.feed_in(self.feed_norm(x))))
        return fed


class Transformer(nn.Module):
    """Token ids to the logits of the next token."""

    rotary: Tensor

    def __init__(self, vocabulary: int, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocabulary, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.05)
        self.register_buffer("rotary", angles(config), persistent=False)

    def hidden(self, tokens: Tensor, *, start: int = 0, mask: Tensor | None = None, keep: Keep | None = None) -> Tensor:
        """Final hidden states (B, T, width) of `tokens` (B, T), at positions from `start` on.

        Each sees those before it, or what `mask` (B, 1, T, T) has True. `keep` is given every layer's keys and values.
        """
        rotary = self.rotary[:, start : start + tokens.shape[1]]
        x = self.embedding(tokens)
        for layer, block in enumerate(self.blocks):
            x = block(x, rotary, mask, partial(keep, layer) if keep is not None else None)
        normed: Tensor = self.norm(x)
        return normed

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., width) to (..., vocabulary)."""
        return F.linear(hidden, self.embedding.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, T, vocabulary) of the token after each; rows are padded on the right, if at all."""
        return self.logits(self.hidden(tokens))

    @classmethod
    def seeded(cls, vocabulary: int, config: ModelConfig, seed: int) -> Self:
        """A model with random weights that depend on `seed` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(vocabulary, config)


def angles(config: ModelConfig, base: float = 10_000.0) -> Tensor:
    """(2, 2 context, D): cosines and signed sines of position / base^(2i/D), for `rotate`.

    Twice the context, because a short prompt padded on the left to a long one's length starts that much further on.
    """
    half = config.width // config.heads // 2
    speeds = base ** (-torch.arange(half, dtype=torch.float64) / half)
    turns = torch.arange(2 * config.context, dtype=torch.float64)[:, None] * speeds
    cos, sin = turns.cos(), turns.sin()
    return torch.stack([torch.cat([cos, cos], dim=1), torch.cat([-sin, sin], dim=1)]).float()


def rotate(x: Tensor, rotary: Tensor) -> Tensor:
    """Turn each pair (x_i, x_{i+D/2}) of (..., T, D) by its position's angle."""
    cos, sin = rotary
    first, second = x.chunk(2, dim=-1)
    return torch.addcmul(x * cos, torch.cat([second, first], dim=-1), sin)
