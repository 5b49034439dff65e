"""What a training step on the cluster engine spends in stepgym's controller, recipe by recipe.

    .venv-cluster/bin/python benchmarks/cluster_share.py [RECIPE...]

Everything of a step that is neither OpenRLHF's, nor waiting for episodes or for a model's word on samples, is
stepgym's: drawing, asking for episodes, reading trajectories, advantages, experiences, records. It is given beside the
time of the whole step, in the same run. The model is random, and every group is learned from, so that each step does
all its work. On a CPU with a model of 2.5 million parameters; larger models and longer replies make the share smaller.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median

STEPS = 6
GROUPS = ("tasks=16", "group=8", "min_std=-1", "rounds=1")
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "sft": ("tasks=64",),
    **dict.fromkeys(("grpo", "ppo", "srl", "guide-grpo", "guide-ppo", "a2d-reasoner", "a2d-decomposer"), GROUPS),
}
ENV_SETTINGS = {"srl": ("think=false",), "a2d-decomposer": ("tries=2",)}


def main() -> None:
    """Print the table."""
    if importlib.util.find_spec("openrlhf") is None:
        print("skipped: OpenRLHF is not installed here; `make test-cluster` makes an environment that has it")
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from tiny_qwen import make_tiny_qwen

    print(f"{'recipe':16}{'s a step':>10}{'share':>9}{'most':>9}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        model = make_tiny_qwen(Path(folder, "model"), context=512, width=256, layers=4)
        for recipe in sys.argv[1:] or SETTINGS:
            show(recipe, model, Path(folder, recipe))


def show(recipe: str, model: Path, out: Path) -> None:
    """One line of the table. The first step, in which everything is loaded, is left out."""
    from stepgym.trainers import TrainConfig, train
    from stepgym.trainers.cluster.config import ClusterConfig
    from stepgym.trainers.metrics import read_metrics

    training = train(
        TrainConfig(
            recipe=recipe,
            engine="openrlhf",
            settings=SETTINGS[recipe],
            env_settings=ENV_SETTINGS.get(recipe, ()),
            tasks=("addition?level=2&count=200&split=train",),
            held_out=("addition?level=2&count=4&split=test",),
            start=model,
            out=out,
            steps=STEPS,
            evaluate_every=STEPS,
            checkpoint_every=STEPS,
            max_tokens=64,
            cluster=ClusterConfig(gpus=1, engines=1),
        )
    )
    records = [record for record in read_metrics(training.folder / "metrics.jsonl") if record.step > 1]
    seconds = median(record.gather_seconds + record.learn_seconds for record in records)
    shares = [record.update.measures["share"] for record in records if record.update is not None]
    print(f"{recipe:16}{seconds:10.2f}{median(shares):9.2%}{max(shares):9.2%}", flush=True)


if __name__ == "__main__":
    main()
