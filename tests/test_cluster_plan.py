"""Plans of the cluster engine: placement, bytes worked out by hand, refusals, and the examples that come along."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepgym.cli import main
from stepgym.codec import decode
from stepgym.errors import ConfigError
from stepgym.trainers import TrainConfig
from stepgym.trainers.cluster.config import ClusterConfig
from stepgym.trainers.cluster.preflight.fitting import check_fit, gpus_of
from stepgym.trainers.cluster.preflight.gpu_memory import GIB, RESERVE, Sharding, cached_tokens, engine, learner, scorer
from stepgym.trainers.cluster.preflight.placement import place_parts
from stepgym.trainers.cluster.preflight.planning import ClusterPlan, make_cluster_plan
from stepgym.trainers.making import make_recipe
from stepgym.trainers.sizes import Sizes, huggingface_sizes
from tests.recipe_material import FULL

EXAMPLES = Path(__file__).parents[1] / "examples/cluster"
SEVEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}
"""The shape of Qwen2.5's models of seven billion parameters."""
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "hf:Qwen/Qwen2.5-7B-Instruct": SEVEN,
    "hf:Qwen/Qwen2.5-Coder-7B-Instruct": SEVEN,
    "hf:Qwen/Qwen2.5-Math-7B": {**SEVEN, "max_position_embeddings": 4096},
}
CONFIGS = sorted(EXAMPLES.glob("*.toml"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A folder with a config.json for each model of the hub that the configurations name."""
    made = {}
    for name, shape in SHAPES.items():
        made[name] = tmp_path_factory.mktemp("models") / name.rpartition("/")[2]
        made[name].mkdir()
        (made[name] / "config.json").write_text(json.dumps(shape))
    return made


@pytest.fixture(scope="module")
def seven(folders: Mapping[str, Path]) -> Sizes:
    return huggingface_sizes(str(folders["hf:Qwen/Qwen2.5-7B-Instruct"]))


@pytest.fixture
def tasks(tmp_path: Path) -> str:
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join(replace(FULL, id=f"{i}").to_json() + "\n" for i in range(10)))
    return str(path)


def config(recipe: str = "grpo", settings: tuple[str, ...] = (), **cluster: Any) -> TrainConfig:
    return TrainConfig(
        recipe=recipe, engine="openrlhf", device="cuda", settings=settings, cluster=ClusterConfig(**cluster)
    )


def refused(given: TrainConfig, sizes: Sizes, row: int = 1024) -> str:
    """The one sentence that a plan is refused with."""
    with pytest.raises(ConfigError) as caught:
        check_fit(given, make_recipe(given.recipe, given.settings), sizes, sizes, row)
    (line,) = str(caught.value).splitlines()
    return line


def test_the_shape_is_read_from_the_configuration_alone(seven: Sizes) -> None:
    assert seven.parameters == 7_615_616_512
    assert (seven.heads, seven.cached_heads, seven.cached_width, seven.feed_width) == (28, 4, 512, 37_888)


def test_a_rank_that_trains_seven_billion_parameters_by_hand(seven: Sizes) -> None:
    """ZeRO-2 on 8 ranks, micro-batches of 16,384 tokens, checkpointing."""
    learning, updating = learner(seven, Sharding(ranks=8, zero=2, checkpointing=True), 16_384).turns
    assert learning.held == {
        "weights": 15_231_233_024,  # 2P
        "gradients": 1_903_904_128,  # 2P/8
        "optimiser": 11_423_424_768,  # 12P/8
        "activations": 3_875_536_896,  # (2·3584·28 + 10·3584) a token
        "logits": 24_914_165_760,  # 10·152064 a token
        "buckets": 1_000_000_000,
        "reserve": RESERVE,
    }
    assert updating.held["gradients of the update"] == 5_711_712_384  # 6P/8
    assert learning.total > updating.total
    whole = learner(seven, Sharding(ranks=8, zero=2), 16_384).turns[0].held["activations"]
    assert whole == 16_384 * (28 * (20 * 3584 + 4 * 512 + 4 * 37_888) + 10 * 3584) == 103_934_853_120


@pytest.mark.parametrize(
    ("zero", "weights", "gradients", "optimiser"), [(0, 2, 2, 12), (1, 2, 2, 3), (2, 2, 0.5, 3), (3, 0.5, 0.5, 3)]
)
def test_each_stage_divides_one_thing_more(
    seven: Sizes, zero: int, weights: float, gradients: float, optimiser: float
) -> None:
    """Table 1 of the ZeRO paper, on 4 ranks."""
    held = learner(seven, Sharding(ranks=4, zero=zero), 1).turns[0].held
    per_parameter = [held[name] / seven.parameters for name in ("weights", "gradients", "optimiser")]
    assert per_parameter == [weights, gradients, optimiser]


def test_what_is_offloaded_is_not_on_the_gpu(seven: Sizes) -> None:
    learning, updating = learner(seven, Sharding(ranks=1, zero=2, offload=True), 1).turns
    assert "optimiser" not in learning.held
    assert updating.held.keys() == {"weights", "gradients", "reserve"}


def test_a_critic_has_no_logits_and_a_reference_nothing_but_weights_and_a_pass(seven: Sizes) -> None:
    assert learner(seven, Sharding(ranks=1, zero=2), 100, critic=True).turns[0].held["logits"] == 0
    held = scorer(seven, Sharding(ranks=8, zero=2), 100).turns[0].held
    assert held["weights"] == 15_231_233_024
    assert held["activations and logits"] == 100 * (225_280 + 6 * 152_064)


def test_an_engine_holds_the_keys_and_values_of_so_many_tokens(seven: Sizes) -> None:
    (sampling,) = engine(seven, 1, 60 * GIB).turns
    assert sampling.total == 60 * GIB
    cache = 60 * GIB - 2 * seven.parameters - 2 * GIB
    assert sampling.held["keys and values"] == cache
    assert cached_tokens(seven, 1, cache) == cache // 57_344  # 2·2 bytes · 28 layers · 4 heads · 128
    assert cached_tokens(seven, 2, cache) == cache // 28_672
    assert cached_tokens(seven, 8, cache) == cached_tokens(seven, 4, cache)  # a head is not split


def test_every_part_has_gpus_of_its_own_unless_they_take_turns(seven: Sizes) -> None:
    apart = config("ppo", ("kl=0.1",), nodes=2, gpus=8, engines=3, tensor_parallel=4)
    parts = place_parts(apart, make_recipe("ppo", ("kl=0.1",)))
    placed = [(part.name, part.processes, part.gpus_each) for part in parts]
    assert placed == [("policy", 16, 1), ("reference", 16, 1), ("critic", 16, 1), ("engines", 3, 4)]
    assert sum(part.gpus for part in parts) == 60
    together = replace(apart, cluster=replace(apart.cluster, engines=4, colocate=True))
    (shared,) = gpus_of(together, make_recipe("ppo", ("kl=0.1",)), seven, seven, 1024)
    assert shared.count == 16
    sampling = next(turn for turn in shared.turns if turn.name == "sampling")
    assert sampling.held["policy asleep"] == 2 * seven.parameters + RESERVE


def test_a_frozen_solver_has_engines_of_its_own_unless_it_is_served_elsewhere() -> None:
    own = config("a2d-decomposer", colocate=True, solver_engines=3)
    recipe = make_recipe("a2d-decomposer")
    assert [part.gpus for part in place_parts(own, recipe)] == [8, 0, 3]
    served = replace(own, cluster=replace(own.cluster, solver_url="http://solver/v1"))
    assert [part.gpus for part in place_parts(served, recipe)] == [8, 0]


def test_a_plan_that_does_not_fit_the_memory_says_what_would(seven: Sizes) -> None:
    line = refused(config(), seven)
    assert line.startswith(
        "a GPU of policy would need 148.5 GiB while learning and has 80: 96.8 activations, 23.2 logits"
    )
    assert line.endswith(
        "cluster.checkpointing, a smaller batch_tokens, a higher cluster.zero or more cluster.gpus makes room"
    )
    check_fit(config(checkpointing=True), make_recipe("grpo"), seven, seven, 1024)
    small = refused(config(checkpointing=True, gpu_gb=24), seven)
    assert "and has 24: " in small
    full = refused(config(checkpointing=True, colocate=True, engine_memory=0.9), seven)
    assert full.startswith("a GPU of policy and engines would need 87.2 GiB while sampling and has 80: ")
    assert full.endswith("a smaller cluster.engine_memory makes room")


@pytest.mark.parametrize("parts", [3, 7, 8, 28])
def test_an_engine_is_split_evenly(seven: Sizes, parts: int) -> None:
    line = refused(config(checkpointing=True, tensor_parallel=parts), seven)
    assert line.startswith(
        f"cluster: tensor_parallel {parts} does not divide the model, which has 28 attention heads, 4 "
    )


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_what_divides_the_heads_is_fine(seven: Sizes, parts: int) -> None:
    check_fit(config(checkpointing=True, tensor_parallel=parts), make_recipe("grpo"), seven, seven, 1024)


def test_colocated_engines_fill_the_policys_gpus(seven: Sizes) -> None:
    line = refused(config(checkpointing=True, colocate=True, engines=4, engine_memory=0.7), seven)
    assert "as many GPUs as the policy has, and 4 engines of 1 are not 1 × 8" in line
    halves = config(checkpointing=True, colocate=True, engines=4, tensor_parallel=2, engine_memory=0.7)
    check_fit(halves, make_recipe("grpo"), seven, seven, 1024)


def test_rollouts_that_leave_gpus_without_any_are_refused(seven: Sizes) -> None:
    line = refused(config("grpo", ("tasks=2", "group=4", "minibatches=2"), checkpointing=True), seven)
    assert line.startswith(
        "the at most 8 rollouts of a step are fewer than one for each of 8 GPUs in each of 2 minibatches"
    )


def test_a_context_that_is_too_long_is_refused(seven: Sizes) -> None:
    longer = config(checkpointing=True, flags=("data.max_len=40000",))
    assert "data.max_len=40000 is not between 1 and the model's context of 32768" in refused(longer, seven)
    assert "leaves a context of 32768 no room" in refused(replace(config(), max_tokens=32_768), seven)
    line = refused(config(checkpointing=True, engine_memory=0.22), seven)
    assert "room for the keys of 26,491 tokens, fewer than an episode's context of 32,768" in line


def test_the_command_prints_the_plan_and_starts_nothing(
    folders: Mapping[str, Path], tasks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "grpo", "--engine", "openrlhf", "--device", "cuda", "--plan", "--out", str(tmp_path / "run")]
    words += ["--start", str(folders["hf:Qwen/Qwen2.5-7B-Instruct"]), "--tasks", tasks, "--held-out", tasks]
    words += ["--settings", "tasks=4", "group=8", "minibatches=2", "--steps", "10", "--max-tokens", "1000"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--cluster.checkpointing", "--cluster.gpus", "4", "--cluster.engines", "2"])
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    assert "grpo on the openrlhf engine" in said.out
    assert "model        7,615,616,512 parameters" in said.out
    assert "placement    6 GPUs\n" in said.out
    assert "    4 GPUs with 4 policy, of 80 GiB each:\n" in said.out
    assert "    2 GPUs with 2 engines, of 80 GiB each:\n" in said.out
    assert "steps        10, with 20 optimiser updates; 3 steps an epoch" in said.out
    assert "tokens       at most 32,000 sampled and 32,128 learned from in a step" in said.out
    with pytest.raises(SystemExit) as refused_:
        main(words)
    assert refused_.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def example(path: Path, folders: Mapping[str, Path], tasks: str) -> tuple[TrainConfig, ClusterPlan]:
    """A configuration as it stands, and its plan with local stand-ins for what it names."""
    given = decode(TrainConfig, tomllib.loads(path.read_text(encoding="utf-8")), where=path.name)
    local = replace(given, start=folders[str(given.start)], tasks=(tasks,), held_out=(tasks,))
    sizes = huggingface_sizes(str(local.start))
    return given, make_cluster_plan(local, make_recipe(local.recipe, local.settings), sizes)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configurations_that_come_along_fit_and_are_described(
    path: Path, folders: Mapping[str, Path], tasks: str
) -> None:
    given, plan = example(path, folders, tasks)
    row = next(line for line in (EXAMPLES / "README.md").read_text().splitlines() if f"`{path.name}`" in line)
    first = plan.gpus[0]
    by_turn = {turn.name: turn.total for turn in first.turns}
    assert f"| {sum(gpus.count for gpus in plan.gpus)} |" in row
    assert f"{by_turn['learning'] / GIB:.1f}" in row
    assert f"{by_turn['sampling'] / GIB:.1f}" in row
    assert f"{plan.rollouts:,}" in row
    assert given.folder == Path("runs") / path.stem


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("srl-math", {"tasks": 512, "group": 8, "learning_rate": 5e-7, "kl": 0.0}),
        ("guide-grpo", {"tasks": 128, "group": 8, "minibatches": 2, "learning_rate": 1e-6, "gamma": 0.9, "kl": 0.0}),
        ("a2d-decomposer", {"tasks": 128, "group": 32, "minibatches": 4, "clip_low": 0.2, "clip_high": 0.28}),
        ("a2d-reasoner", {"tasks": 128, "group": 32, "minibatches": 4, "clip_low": 0.2, "clip_high": 0.28}),
    ],
)
def test_they_are_the_papers_settings(name: str, settings: Mapping[str, float]) -> None:
    given = decode(TrainConfig, tomllib.loads((EXAMPLES / f"{name}.toml").read_text(encoding="utf-8")), where=name)
    recipe = make_recipe(given.recipe, given.settings)
    assert {key: getattr(recipe, key) for key in settings} == settings


def test_the_machines_files_can_be_read() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    cluster = yaml.safe_load((EXAMPLES / "ray-cluster.yaml").read_text())
    assert cluster["head_node_type"] in cluster["available_node_types"]
    job = yaml.safe_load((EXAMPLES / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    (workers,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"] == 2
    subprocess.run(["bash", "-n", EXAMPLES / "slurm.sh"], check=True)


def test_rays_own_schema_takes_the_cluster() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util", reason="Ray is not installed")
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    util.validate_config(util.fillout_defaults(yaml.safe_load((EXAMPLES / "ray-cluster.yaml").read_text())))


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_they_name_what_exists(path: Path) -> None:
    """Configurations, and the releases that the engine stands on."""
    from stepgym.trainers.cluster.preflight.versions import KERNELS, PINNED

    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"[\w./-]*examples/cluster/([\w.-]+\w)", text):
        assert (EXAMPLES / name).exists(), name
    for name, version in re.findall(r"(openrlhf|vllm|ray|deepspeed|flash-attn)(?:\[\w+\])?(?:==| )(\d[\d.]*\d)", text):
        assert version == {**PINNED, **KERNELS}[name], f"{name} {version}"
