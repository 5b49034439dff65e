"""The forward pass of sampling: a `Transformer` that reads one token of every row at a time, in few operations.

A small model has so little to compute for a token that an operation costs as much to begin as to do. So the weights are
taken out of the modules, results are added in place, and attention is `stepgym.trainers.key_values`. Not for training:
there are no gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from stepgym.trainers.key_values import key_values
from stepgym.trainers.model import Block, Transformer

PREFILL_TOKENS = 4096
"""Most padded tokens of prompts that are read at once, if there is more than one: they stay in a CPU's cache."""


class Decoder:
    """Rows of tokens that grow together. For use within ``torch.inference_mode()``.

    Rows are padded on the left to the longest prompt; rotary positions are relative, so that takes a mask and no more.
    Equal prompts in neighbouring rows, such as the rollouts of a group, are read once.
    """

    logits: Tensor
    """(B, vocabulary), of the token that comes next."""

    def __init__(self, model: Transformer, prompts: Sequence[Sequence[int]], steps: int) -> None:
        """Reads the B `prompts`, none of them empty, and sets memory aside for `steps` more tokens."""
        self.model = model
        self.layers = [_Layer.of(block) for block in cast(Iterable[Block], model.blocks)]
        self.length = max(map(len, prompts))
        """Tokens in a row, padding included."""
        padding = torch.tensor([self.length - len(prompt) for prompt in prompts])
        self.memory = key_values(model, padding, self.length + steps)
        row, hidden = 0, []
        for chunk in _chunks(prompts):
            hidden.append(self._prefill(chunk, row))
            row += len(hidden[-1])
        self.logits = model.logits(torch.cat(hidden))

    def read(self, tokens: Tensor) -> None:
        """Append one of `tokens` (B) to each row."""
        x = self.model.embedding(tokens)
        width = x.shape[1:]
        for number, layer in enumerate(self.layers):
            qkv = torch.mm(torch.layer_norm(x, width, layer.attention_norm), layer.qkv)
            x.addmm_(self.memory.attend(number, qkv, self.length), layer.attention_out)
            fed = torch.mm(torch.layer_norm(x, width, layer.feed_norm), layer.feed_in)
            x.addmm_(F.silu(fed, inplace=True), layer.feed_out)
        self.length += 1
        self.logits = self.model.logits(self.model.norm(x))

    def keep(self, going: Tensor) -> Tensor:
        """Drop the rows that are not `going` (B). The rest may change places: returns their indices as they now stand.

        Their `logits` are not those of the next token until one more has been read.
        """
        count = int(going.sum())
        gaps, movers = (~going[:count]).nonzero()[:, 0], count + going[count:].nonzero()[:, 0]
        self.memory.move(gaps, movers, count)
        order = torch.arange(count, device=going.device)
        order[gaps] = movers
        return order

    def _prefill(self, chunk: Sequence[_Repeated], row: int) -> Tensor:
        """Read `chunk` into the rows from `row` on: the last hidden state of each."""
        device, width = self.model.embedding.weight.device, max(len(prompt) for prompt, _ in chunk)
        padding = torch.tensor([width - len(prompt) for prompt, _ in chunk], device=device)
        tokens = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt, _ in chunk], device=device)
        copies = torch.repeat_interleave(torch.tensor([rows for _, rows in chunk])).to(device)
        start = self.length - width

        def keep(layer: int, keys: Tensor, values: Tensor) -> None:
            self.memory.store(layer, row, start, keys[copies], values[copies])

        return self.model.hidden(tokens, start=start, mask=_mask(padding, width), keep=keep)[:, -1][copies]


class _Layer(NamedTuple):
    """A block's weights: each matrix as it stands on the right of a product."""

    attention_norm: Tensor
    qkv: Tensor
    attention_out: Tensor
    feed_norm: Tensor
    feed_in: Tensor
    feed_out: Tensor

    @classmethod
    def of(cls, block: Block) -> Self:
        return cls(
            attention_norm=block.attention_norm.weight,
            qkv=block.qkv.weight.t(),
            attention_out=block.attention_out.weight.t(),
            feed_norm=block.feed_norm.weight,
            feed_in=block.feed_in.weight.t(),
            feed_out=block.feed_out.weight.t(),
        )


class _Repeated(NamedTuple):
    """A prompt and how many neighbouring rows have it."""

    prompt: Sequence[int]
    rows: int


def _chunks(prompts: Sequence[Sequence[int]]) -> Iterator[list[_Repeated]]:
    chunk: list[_Repeated] = []
    width = 0
    for prompt, same in groupby(prompts):
        width = max(width, len(prompt))
        if chunk and width * (len(chunk) + 1) > PREFILL_TOKENS:
            yield chunk
            chunk, width = [], len(prompt)
        chunk.append(_Repeated(prompt, sum(1 for _ in same)))
    yield chunk


def _mask(padding: Tensor, width: int) -> Tensor | None:
    """(B, 1, width, width): where tokens look, which is at those before them that are no padding; None if none is."""
    if not padding.any():
        return None
    columns = torch.arange(width, device=padding.device)
    # A padding position looks at itself: it must look somewhere, or it would spread NaN.
    itself, before = columns == columns[:, None], columns <= columns[:, None]
    return (before & (columns >= padding[:, None, None, None])) | itself
