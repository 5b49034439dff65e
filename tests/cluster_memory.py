"""Run alone: how many bytes DeepSpeed and a pass through OpenRLHF's actor really hold, as JSON. No GPU.

Tensors are counted as they are made and freed, so what is measured is what the algorithm holds, not what an allocator
does. OpenRLHF's loss over the vocabulary comes from flash-attn, which needs a GPU; one that keeps and makes the same
tensors stands in for it.
"""

from __future__ import annotations

import json
import os
import sys
import types
import warnings
import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}
TOKENS = 1024


class Counted(TorchDispatchMode):
    """Bytes of all storages that live, and the most that lived at a time."""

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.now = 0
        for tensor in known:
            self.add(tensor)
        self.peak = self.start = self.now

    def add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.sizes:
            self.sizes[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            weakref.finalize(storage, self.drop, storage._cdata)

    def drop(self, key: int) -> None:
        self.now -= self.sizes.pop(key, 0)

    def __torch_dispatch__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor)
        self.peak = max(self.peak, self.now)
        return made


class CrossEntropy(torch.autograd.Function):
    """As flash-attn's: keeps the logits, makes their gradient beside them."""

    @staticmethod
    def forward(context: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        sums = torch.cat([torch.logsumexp(part, -1) for part in logits.split(64)])
        context.save_for_backward(logits, sums, labels)
        return sums - logits.gather(1, labels[:, None])[:, 0]

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, sums, _ = context.saved_tensors
        made = torch.empty_like(logits)
        for part in torch.arange(len(logits)).split(64):
            made[part] = (logits[part] - sums[part, None]).exp_() * gradients[0][part, None]
        return made, None


def model(vocabulary: int) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    shape = Qwen2Config(vocab_size=vocabulary, use_cache=False, **SHAPE)
    return Qwen2ForCausalLM._from_config(shape, dtype=torch.bfloat16, attn_implementation="sdpa")


def passed(vocabulary: int, checkpointing: bool) -> int:
    """Bytes beside weights and gradients in a forward and backward pass."""
    from openrlhf.models import Actor

    causal = model(vocabulary)
    actor = Actor(causal)
    actor.packing_samples = actor.is_vlm = False
    if checkpointing:
        actor.gradient_checkpointing_enable()
    actor.train()
    for parameter in causal.parameters():
        parameter.grad = torch.zeros_like(parameter)
    held = [*causal.parameters(), *causal.buffers(), *(parameter.grad for parameter in causal.parameters())]
    tokens = torch.randint(0, vocabulary, (1, TOKENS))
    mask = torch.ones(1, TOKENS - 1)
    with Counted(held) as counted:
        logprobs, _kept = actor(tokens, mask, attention_mask=torch.ones_like(tokens), return_output=True)
        (-logprobs.mean()).backward()
    return counted.peak - counted.start


def trained(stage: int) -> dict[str, float]:
    """Bytes a parameter between steps, with gradients, and while updating, of one rank alone."""
    import gc

    import deepspeed
    from openrlhf.utils.deepspeed.deepspeed_utils import get_optimizer_grouped_parameters, get_train_ds_config

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0", WORLD_SIZE="1", RANK="0", LOCAL_RANK="0")
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    causal = model(8192)
    count = sum(parameter.numel() for parameter in causal.parameters())
    optimiser = {"type": "AdamW", "params": {"lr": 1e-4}}
    settings = get_train_ds_config(offload=False, adam_offload=False, stage=stage, zpg=1, optim_config=optimiser)
    settings |= {"train_micro_batch_size_per_gpu": 1, "train_batch_size": 1}
    engine, *_ = deepspeed.initialize(
        model=causal, model_parameters=get_optimizer_grouped_parameters(causal, 0.0), config=settings
    )

    def living() -> list[torch.Tensor]:
        gc.collect()
        with warnings.catch_warnings(action="ignore"):  # torch's own relics complain when they are looked at
            tensors = [thing for thing in gc.get_objects() if isinstance(thing, torch.Tensor)]
        return list({tensor.untyped_storage().data_ptr(): tensor for tensor in tensors}.values())

    def learn() -> None:
        tokens = torch.randint(0, 8192, (1, 16))
        engine.backward(engine(input_ids=tokens, labels=tokens).loss)

    learn()
    engine.step()
    between = Counted(living()).start
    learn()
    with Counted(living()) as counted:
        engine.step()
    return {"between": between / count, "gradients": counted.start / count, "updating": counted.peak / count}


if __name__ == "__main__":
    from stepgym.trainers.cluster.cpu.shim import install

    install()
    model(8)  # what is imported for it looks for flash-attn, and must not find it
    import openrlhf.models  # noqa: F401, for the same reason

    torch.set_num_threads(1)
    for name in ("flash_attn", "flash_attn.ops", "flash_attn.ops.triton", "flash_attn.ops.triton.cross_entropy"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules[name].cross_entropy_loss = lambda logits, labels: (CrossEntropy.apply(logits, labels), None)  # type: ignore[attr-defined]
    passes = {
        f"{vocabulary} {checkpointing}": passed(vocabulary, checkpointing)
        for vocabulary in (512, 8192)
        for checkpointing in (False, True)
    }
    print(json.dumps({"passes": passes, "trained": trained(2)}))
