"""Bytes that each part of a run holds on one GPU, from the sizes of its model.

P are the parameters, N the ranks that share a model, h its width, k that of its keys (and of its values), f that of its
feed-forward layers with gate and widening taken together, L its layers, V its vocabulary.

- Weights 2P, gradients 2P (bfloat16), the optimiser 12P (weights in float32 and Adam's two moments). ZeRO's stages
  divide by N the optimiser (1), the gradients (2), the weights (3): arXiv 1910.02054, sections 3.1 and 5. An update
  needs 6 bytes more for each parameter that a rank updates: its gradients flattened, and in float32.
- Activations per token of a block: 20h + 4k + 4f. It is the count of arXiv 2205.05198, section 4.1, for a block with
  RMS norms (which keep their input in float32), rotated grouped keys, a gated feed-forward layer, attention that keeps
  no scores (FlashAttention), and no dropout. With checkpointing 2h a block, and one block made again (with 2f of
  gradients). After the last block 10h.
- Logits per token: 10V. OpenRLHF casts them to float32 (4V) and holds them while their gradient is made in float32
  (4V) and cast back (2V); as blocks are made again the first 4V are still there. Scoring without gradients takes 6V.

Two numbers are assumptions: `RESERVE` and `ENGINE_SCRATCH`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stepgym.trainers.sizes import Sizes

GIB = 2**30
HALF, FLOAT = 2, 4
"""Bytes of a bfloat16, and of a float32."""
BUCKET = 500_000_000
"""Gradients that DeepSpeed collects before it reduces them (its reduce_bucket_size), allocated in full."""
LIVE = 1_000_000_000
"""Parameters that ZeRO-3 holds gathered at most (its stage3_max_live_parameters)."""
RESERVE = GIB
"""Of a process on a GPU before its first tensor: the CUDA context, NCCL's buffers, what the allocator loses."""
ENGINE_SCRATCH = 2 * GIB
"""Of an engine besides weights and cache: its largest forward pass, CUDA graphs, and the same as `RESERVE`."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What is on a GPU at a time."""

    name: str
    held: Mapping[str, int]
    """Bytes by what they are."""

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.held.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """What a part does on its GPUs."""

    turns: tuple[Turn, ...]
    asleep: int
    """What it leaves there while others have their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """How ranks share a model, and what else decides about memory."""

    ranks: int
    zero: int
    offload: bool = False
    """Keep the optimiser in the machine's memory."""
    checkpointing: bool = False

    def share(self, parameters: int, stage: int) -> int:
        """How many of `parameters` a rank holds of what ZeRO divides from `stage` on."""
        return parameters if self.zero < stage else -(-parameters // self.ranks)


def learner(sizes: Sizes, sharding: Sharding, tokens: int, *, critic: bool = False) -> Tenant:
    """A rank that trains a model in micro-batches of up to `tokens`. A critic has values in place of logits.

    A critic is counted with all parameters of the policy, though it lacks the last layer's.
    """
    updated = sharding.share(sizes.parameters, 1)
    weights = HALF * sharding.share(sizes.parameters, 3)
    held = {"weights": weights, "gradients": HALF * sharding.share(sizes.parameters, 2)}
    if not sharding.offload:
        held["optimiser"] = 3 * FLOAT * updated
    block, vocabulary = _block(sizes), 0 if critic else sizes.vocabulary
    end = 10 * sizes.width
    logits = (2 * FLOAT + HALF) * vocabulary
    if sharding.checkpointing:
        kept = HALF * sizes.width * sizes.layers + end
        logits = max(logits, FLOAT * vocabulary + block + HALF * sizes.feed_width)
    else:
        kept = block * sizes.layers + end
    learning = {"activations": tokens * kept, "logits": tokens * logits}
    buckets = {"buckets": HALF * BUCKET * (sharding.zero > 0) + _gathered(sizes, sharding)}
    kept_buckets = buckets if sharding.zero == 3 else {}  # the other stages free them after the backward pass
    update = {} if sharding.offload else {"gradients of the update": (HALF + FLOAT) * updated}
    return Tenant(
        turns=(
            Turn("learning", {**held, **learning, **buckets, "reserve": RESERVE}),
            Turn("updating", {**held, **update, **kept_buckets, "reserve": RESERVE}),
        ),
        asleep=weights + RESERVE,
    )


def scorer(sizes: Sizes, sharding: Sharding, tokens: int) -> Tenant:
    """A rank that only reads. ZeRO-3 alone divides a model that is not trained."""
    weights = HALF * sharding.share(sizes.parameters, 3)
    reading = tokens * (_block(sizes) + (HALF + FLOAT) * sizes.vocabulary)
    held = {"weights": weights, "activations and logits": reading, "buckets": _gathered(sizes, sharding)}
    return Tenant(turns=(Turn("scoring", {**held, "reserve": RESERVE}),), asleep=weights + RESERVE)


def engine(sizes: Sizes, tensor_parallel: int, room: int) -> Tenant:
    """One of the GPUs of a vLLM engine, which takes `room` bytes of it whatever the model."""
    weights = HALF * -(-sizes.parameters // tensor_parallel)
    cache = max(0, room - weights - ENGINE_SCRATCH)
    held = {"weights": weights, "keys and values": cache, "scratch": ENGINE_SCRATCH}
    return Tenant(turns=(Turn("sampling", held),), asleep=RESERVE)  # its weights sleep in the machine's memory


def cached_tokens(sizes: Sizes, tensor_parallel: int, cache: int) -> int:
    """How many tokens' keys and values fit `cache` bytes on each of an engine's GPUs.

    A head is not split: with more GPUs than heads with keys of their own, some are held twice.
    """
    heads = -(-sizes.cached_heads // tensor_parallel)
    return cache // (2 * HALF * sizes.layers * heads * (sizes.cached_width // sizes.cached_heads))


def _gathered(sizes: Sizes, sharding: Sharding) -> int:
    return HALF * min(LIVE, sizes.parameters) * (sharding.zero == 3)


def _block(sizes: Sizes) -> int:
    return 20 * sizes.width + 4 * sizes.cached_width + 4 * sizes.feed_width
