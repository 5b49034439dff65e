"""The plan's bytes against those that DeepSpeed and OpenRLHF's actor hold, measured on a small model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stepgym.trainers.cluster.preflight.gpu_memory import RESERVE, Sharding, learner
from stepgym.trainers.sizes import Sizes, huggingface_sizes
from tests.cluster_memory import SHAPE, TOKENS

pytest.importorskip("openrlhf", reason="OpenRLHF is not installed; `make test-cluster` runs this where it is")


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """What `cluster_memory` says, in a process of its own: it makes itself the only rank of a group."""
    script = Path(__file__).with_name("cluster_memory.py")
    settings = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-P", script], env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def sizes(folder: Path, vocabulary: int) -> Sizes:
    described = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": vocabulary, **SHAPE}
    (folder / "config.json").write_text(json.dumps(described))
    return huggingface_sizes(str(folder))


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("vocabulary", [512, 8192])
def test_a_pass_holds_what_the_plan_says(
    measured: dict[str, Any], tmp_path: Path, vocabulary: int, checkpointing: bool
) -> None:
    sharding = Sharding(ranks=1, zero=2, checkpointing=checkpointing)
    held = learner(sizes(tmp_path, vocabulary), sharding, TOKENS).turns[0].held
    ratio = (held["activations"] + held["logits"]) / measured["passes"][f"{vocabulary} {checkpointing}"]
    assert 0.97 < ratio < 1.1


def test_deepspeed_holds_what_the_plan_says(measured: dict[str, Any], tmp_path: Path) -> None:
    model = sizes(tmp_path, 8192)
    learning, updating = learner(model, Sharding(ranks=1, zero=2), TOKENS).turns
    kept = sum(learning.held[name] for name in ("weights", "gradients", "optimiser"))
    assert measured["trained"]["gradients"] == pytest.approx(kept / model.parameters, rel=1e-3)
    assert measured["trained"]["updating"] == pytest.approx((updating.total - RESERVE) / model.parameters, rel=1e-3)
