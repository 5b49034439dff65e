# ruff: noqa: E402 - the shim goes before the modules that it changes
"""The controller of a cluster run: what it draws, asks for, hands on, records, and where it goes on after a kill.

OpenRLHF's own loop runs here, around Ray actors that play and keep books in place of vLLM and DeepSpeed.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("openrlhf", reason="OpenRLHF is not installed; `make test-cluster` runs this where it is")

from stepgym.trainers.cluster.cpu.shim import HOOK, install

install()

import ray
from openrlhf.trainer.ray.launcher import RayActorGroup

from stepgym.errors import ConfigError
from stepgym.evals.run_folder import RunFolder
from stepgym.evals.viewing import write_page
from stepgym.tasks import load
from stepgym.trainers.cluster.checkpoints import mend
from stepgym.trainers.cluster.controller.dispatch import Engines
from stepgym.trainers.cluster.controller.recording import log_of, update_of
from stepgym.trainers.cluster.controller.samples_generator import RecipeSamples, ranks_of
from stepgym.trainers.cluster.controller.source import Cluster, ClusterSource, requests_for, setting_of
from stepgym.trainers.cluster.controller.stream import Batch, Gathered, TaskStream
from stepgym.trainers.cluster.controller.trainer import RecipeTrainer, prepare_streams, scorers_of
from stepgym.trainers.cluster.controller.turns import Turns
from stepgym.trainers.cluster.job import Job, TaskTable
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.local import LocalEngine, load_all
from stepgym.trainers.making import make_recipe
from stepgym.trainers.metrics import read_metrics
from stepgym.trainers.source import StepSource
from tests.cluster_actors import Models, Player
from tests.tiny_qwen import make_tiny_qwen

ALL = ("tasks=3", "group=3", "min_std=-1")
"""Settings of a GRPO that learns from every group, as an untrained model never succeeds."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_qwen(tmp_path_factory.mktemp("model"), context=128, width=16, layers=1)


@pytest.fixture(scope="module")
def players(model: Path) -> Iterator[list[Any]]:
    folder = tempfile.mkdtemp(prefix="ray-")
    ray.cloudpickle.register_pickle_by_value(sys.modules[Player.__module__])  # workers find another package "tests"
    ray.init(
        num_cpus=8,
        num_gpus=3,
        include_dashboard=False,
        object_store_memory=100 << 20,
        _temp_dir=folder,
        runtime_env={"worker_process_setup_hook": HOOK},
        log_to_driver=False,
    )
    try:
        yield [ray.remote(Player).remote(str(model)) for _ in range(2)]
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def config_for(model: Path, out: Path, **settings: Any) -> TrainConfig:
    usual: dict[str, Any] = {
        "recipe": "grpo",
        "engine": "openrlhf",
        "tasks": ("addition?level=1&count=12&split=train",),
        "held_out": ("addition?level=1&count=4&split=test",),
        "rehearse": ("addition?level=1&count=6&split=train",),
        "rehearsed": 2,
        "settings": ALL,
        "start": model,
        "out": out,
        "steps": 5,
        "evaluate_every": 2,
        "checkpoint_every": 2,
        "max_tokens": 6,
    }
    return TrainConfig(**(usual | settings))


def job_of(config: TrainConfig) -> Job:
    recipe = make_recipe(config.recipe, config.settings)
    training = tuple(part for task in load_all(config.tasks) for part in recipe.instances(task))
    held_out, rehearsal = tuple(load_all(config.held_out)), tuple(load_all(config.rehearse))
    table = TaskTable(training=training, held_out=held_out, rehearsal=rehearsal)
    return Job(config=config, model=str(config.start), solver="", tasks=ray.put(table))


def strategy_of(job: Job, *, gpus: int = 1) -> Any:
    """OpenRLHF's arguments, as far as its controllers read them."""
    space = SimpleNamespace
    folder = job.config.folder
    args = space(
        stepgym=job,
        algo=space(
            kl=space(target=None, init_coef=0.0, horizon=1),
            advantage=space(estimator="reinforce"),
            dynamic_filtering_enable=False,
        ),
        actor=space(num_nodes=1, num_gpus_per_node=gpus),
        critic=space(freezing_steps=-1),
        ckpt=space(load_enable=True, path=str(folder / "checkpoints"), save_steps=-1, best_metric_key=""),
        data=space(disable_fast_tokenizer=False),
        ds=space(enable_sleep=False, ring_attn_size=1, tensor_parallel_size=1),
        eval=space(steps=-1),
        logger=space(
            wandb=space(key=None, run_name="run"), tensorboard_dir=str(folder / "tensorboard"), logging_steps=1
        ),
        rollout=space(batch_size=1, n_samples_per_prompt=1),
        train=space(num_episodes=1, dynamic_batch_enable=True),
        vllm=space(enable_sleep=False),
    )
    return space(args=args)


@pytest.fixture(scope="module")
def group(players: list[Any]) -> Any:
    """OpenRLHF's group of the processes of a policy: one."""
    assert len(players) == 2  # Ray is there
    return RayActorGroup(1, 1, ray.remote(Models))


def trainer_of(job: Job, group: Any, players: list[Any], *, breaks_at: int = 0) -> RecipeTrainer:
    strategy = strategy_of(job)
    ray.get(group.async_run_method("open", strategy.args.ckpt.path, breaks_at))
    return RecipeTrainer(job.model, strategy, group, None, None, None, players)


def test_it_draws_shows_and_reads_as_the_local_engine_does(model: Path, players: list[Any], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    config = config_for(model, tmp_path, env="stepgym/ExpertStep-v0", system="Add.", instructions="Mind the carry.")
    local = StepSource(LocalEngine(config, make_recipe(config.recipe, config.settings)), 3)
    setting = setting_of(job_of(config), AutoTokenizer.from_pretrained(model))
    cluster = Cluster(Engines(players, episodes=4, sleeps=False), None, Turns())  # type: ignore[arg-type]
    there = ClusterSource(cluster, setting, 3)
    drawn = there.draw(20)
    assert drawn == local.draw(20)
    assert there.setting.reading.end == local.setting.reading.end
    assert there.setting.reading.context == local.setting.reading.context == 128
    assert [there.context(task) for task in drawn] == [local.context(task) for task in drawn]
    assert there.demonstrate(drawn[0]) == local.demonstrate(drawn[0])
    assert there.rehearse() == local.rehearse()
    assert len(there.rehearse()) == 2

    played, alike = there.play(drawn[:2], 3), local.play(drawn[:2], 3)  # the same model, prompts, seeds and sampler
    assert [group.task for group in played] == drawn[:2]
    texts = [[t.steps[0].reply.tokens for t in group.trajectories] for group in played]
    assert texts == [[t.steps[0].reply.tokens for t in group.trajectories] for group in alike]
    assert there.sampled_tokens == local.sampled_tokens == sum(len(tokens) for of in texts for tokens in of)
    assert played != there.play(drawn[:2], 3), "the next play has seeds of its own"


def test_an_engine_gets_no_more_than_it_can_play_and_the_free_one_gets_the_next(
    model: Path, players: list[Any], tmp_path: Path
) -> None:
    config = config_for(model, tmp_path)
    stage, tasks = job_of(config).training, list(load("addition?level=1&count=9&split=test"))
    before = ray.get([player.load.remote() for player in players])
    requests = requests_for(config, stage, tasks, 2, seed="s")
    played = Engines(players, episodes=5, sleeps=False).play(requests)
    assert [group[0].task for group in played] == tasks
    assert all(len(group) == 2 and all(t.graded for t in group) for group in played)
    after = ray.get([player.load.remote() for player in players])
    groups = [now[0] - then[0] for now, then in zip(after, before, strict=True)]
    assert sum(groups) == 9
    assert min(groups) >= 2, "both had something to do"
    assert all(most <= 9 for _, most in after)

    alone = ray.remote(Player).remote(str(model))
    Engines([alone], episodes=5, sleeps=False).play(requests)
    assert ray.get(alone.load.remote()) == (9, 4), "two groups of two at a time fit, three do not"
    Engines([alone], episodes=1, sleeps=False).play(requests[:2])  # a group is never split
    ray.kill(alone)


def test_an_engine_that_dies_is_not_silently_left_out(model: Path, players: list[Any], tmp_path: Path) -> None:
    config = config_for(model, tmp_path)
    stage, tasks = job_of(config).training, load("addition?level=1&count=2&split=test")
    dead = ray.remote(Player).remote(str(model))
    ray.get(dead.load.remote())
    ray.kill(dead)
    with pytest.raises(ray.exceptions.RayActorError):
        Engines([players[0], dead], episodes=8, sleeps=False).play(requests_for(config, stage, tasks, 1, seed="s"))


def test_engines_that_share_gpus_sleep_while_models_are_asked(players: list[Any]) -> None:
    player = players[0]
    engines = Engines([player], episodes=4, sleeps=True)
    cluster = Cluster(engines, None, Turns())  # type: ignore[arg-type]

    def ask(samples: Any) -> list[tuple[float, ...]]:
        ray.get(player.score.remote())
        return [(0.0,) for _ in samples]

    for step in (engines.wake, engines.wake, lambda: cluster.scored(ask, [None]), engines.wake, engines.sleep):
        step()  # type: ignore[no-untyped-call, list-item]
    engines.sleep()
    assert ray.get(player.heard.remote()) == ["wake up", "sleep", "score", "wake up", "sleep"]
    assert cluster.waited.seconds > 0
    assert engines.waited.seconds > 0
    Engines([player], episodes=4, sleeps=False).wake()
    assert ray.get(player.heard.remote()) == []


def samples_of(job: Job, players: list[Any], *, ranks: int = 2, **more: Any) -> RecipeSamples:
    from openrlhf.utils import get_tokenizer

    strategy = strategy_of(job, gpus=ranks)
    tokenizer = get_tokenizer(job.model, None, "left", strategy)
    scorers = scorers_of(strategy.args, None, None, None, tokenizer)
    stream = TaskStream(job.config.steps)
    return RecipeSamples(
        strategy=strategy, stream=stream, tokenizer=tokenizer, engines=players, scorers=scorers, turns=Turns(), **more
    )


def test_a_step_is_handed_on_with_its_numbers_in_rows_for_every_rank(
    model: Path, players: list[Any], tmp_path: Path
) -> None:
    samples = samples_of(job_of(config_for(model, tmp_path, steps=2)), players, ranks=4)
    batch, rate, consumed, exhausted = samples.generate_samples()
    assert (rate, consumed, exhausted) == (None, 1, False)
    assert len(batch) == 12, "9 attempts and 2 rehearsed, for 4 ranks"
    assert [int(row.action_mask.sum()) > 0 for row in batch] == [True] * 11 + [False]
    assert float(batch[-1].info["stepgym_weight"]) == 0
    gathered = batch.gathered
    assert (gathered.step, gathered.measures["groups"], gathered.measures["useful_groups"]) == (1, 3, 3)
    assert gathered.trained_tokens == sum(int(row.action_mask.sum()) for row in batch) > gathered.sampled_tokens > 0
    assert 0 < gathered.own_seconds < gathered.seconds

    sent = pickle.loads(pickle.dumps(batch))  # as the queue of an asynchronous run does
    assert (type(sent), sent.gathered, len(sent)) == (Batch, gathered, 12)
    assert samples.generate_samples()[3], "the second step is the last"
    assert samples.generate_samples() == ([], None, 0, True)


def test_a_step_without_anything_to_learn_from_is_handed_on_too(
    model: Path, players: list[Any], tmp_path: Path
) -> None:
    samples = samples_of(job_of(config_for(model, tmp_path, settings=("tasks=2", "group=2"), steps=1)), players)
    batch, _, consumed, exhausted = samples.generate_samples()
    assert (len(batch), consumed, exhausted) == (0, 1, True)
    assert batch, "OpenRLHF would leave it out"
    assert (batch.gathered.measures["useful_groups"], batch.gathered.trained_tokens) == (0, 0)
    assert batch.gathered.sampled_tokens > 0


def test_what_the_model_cannot_read_at_once_is_refused(model: Path, players: list[Any], tmp_path: Path) -> None:
    long = ("addition?level=20&count=2&split=train",)
    with pytest.raises(Exception, match="more than the model's context of 128"):
        samples_of(job_of(config_for(model, tmp_path, rehearse=long)), players).generate_samples()


def test_a_run_records_evaluates_logs_and_saves(model: Path, players: list[Any], group: Any, tmp_path: Path) -> None:
    job = job_of(config_for(model, tmp_path))
    trainer = trainer_of(job, group, players)
    assert trainer.get_max_steps() == 5
    trainer.fit()
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [record.step for record in records] == [0, 1, 2, 3, 4, 5]
    assert [record.step for record in records if record.held_out] == [0, 2, 4, 5]
    assert all(record.held_out.graded == 4 for record in records if record.held_out)
    update = records[3].update
    assert update is not None
    assert (update.loss, update.gradient, update.updates, update.measures["kl"]) == (0.5, 2.0, 1, 0.25)
    assert update.tokens > 0
    assert records[3].sampled_tokens > 0
    assert records[3].measures["useful_groups"] == 3
    assert ray.get(group.async_run_method("fits")) == [[11] * 5], "9 attempts and 2 rehearsed"

    checkpoints = tmp_path / "checkpoints" / "_actor"
    saved = {path.name for path in checkpoints.iterdir() if path.is_dir()}
    assert saved == {"global_step2", "best_global_step2", "global_step4", "global_step5"}
    assert json.loads((checkpoints / "best_global_step2" / "metric.json").read_text())["metric_key"] == (
        "eval_held_out_pass1"
    )
    shown = trajectory_lines(tmp_path)
    assert len(shown) == 4
    kept = sorted(path.name for path in (tmp_path / "evaluations").iterdir())
    assert kept == ["step-0", "step-2", "step-4", "step-5"]
    folder = RunFolder(tmp_path / "evaluations" / "step-5")
    assert len(folder.read("math")) == folder.task_count() == 4
    assert json.loads(folder.report.read_text())["graded"] == 4
    assert "addition" in write_page(folder.path, None, limit=10).read_text()
    names = logged_names(tmp_path / "tensorboard")
    assert {"train/stepgym/reward", "train/stepgym/filter_rate", "train/stepgym/share", "train/stepgym/kl"} <= names
    assert "eval/eval_held_out_pass1" in names


def trajectory_lines(folder: Path) -> list[str]:
    return (folder / "trajectories.jsonl").read_text().splitlines()


def logged_names(folder: Path) -> set[str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (run,) = folder.iterdir()
    events = EventAccumulator(str(run))
    events.Reload()
    return set(events.Tags()["scalars"])


def test_idle_steps_are_recorded_and_evaluated_as_others_are(
    model: Path, players: list[Any], group: Any, tmp_path: Path
) -> None:
    job = job_of(config_for(model, tmp_path, settings=("tasks=2", "group=2"), steps=3))
    trainer_of(job, group, players).fit()
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [(record.step, record.update) for record in records] == [(step, None) for step in range(4)]
    assert [record.step for record in records if record.held_out] == [0, 2, 3]
    assert ray.get(group.async_run_method("fits")) == [[]]
    assert {"train/stepgym/useful_groups", "train/stepgym/filter_rate"} <= logged_names(tmp_path / "tensorboard")
    assert (tmp_path / "checkpoints" / "_actor" / "latest").read_text() == "global_step3"


def test_the_target_ends_a_run(model: Path, players: list[Any], group: Any, tmp_path: Path) -> None:
    job = job_of(config_for(model, tmp_path, target=0.0, evaluate_every=3))
    trainer_of(job, group, players).fit()
    assert [record.step for record in read_metrics(tmp_path / "metrics.jsonl")] == [0]  # its first reward is enough


def test_a_run_that_broke_goes_on_from_its_checkpoint(model: Path, players: list[Any], tmp_path: Path) -> None:
    job = job_of(config_for(model, tmp_path / "broken", steps=6, checkpoint_every=3))
    broken = trainer_of(job, RayActorGroup(1, 1, ray.remote(Models)), players, breaks_at=6)
    with pytest.raises(ray.exceptions.RayActorError):
        broken.fit()
    broken.metrics.close()
    before = read_metrics(tmp_path / "broken" / "metrics.jsonl")
    assert [record.step for record in before] == [0, 1, 2, 3, 4, 5]

    again = RayActorGroup(1, 1, ray.remote(Models))
    second = trainer_of(job, again, players)
    states = second.init_checkpoint_states()
    assert states["global_step"] == 3, "the last checkpoint"
    assert states["data_loader_state_dict"] == {"step": 3}
    assert [record.step for record in read_metrics(tmp_path / "broken" / "metrics.jsonl")] == [0, 1, 2, 3]
    second.metrics.close()
    second.fit()
    after = read_metrics(tmp_path / "broken" / "metrics.jsonl")
    lines = (tmp_path / "broken" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2, 3, 4, 5, 6], "no step stands there twice"
    assert [len(fits) for fits in ray.get(again.async_run_method("fits"))] == [3], "steps 4, 5 and 6"
    assert after[:4] == before[:4]
    same = [(record.step, record.measures) for record in after[4:6]]
    assert same == [(record.step, record.measures) for record in before[4:6]], "the same tasks, seeds and weights"


def test_two_controllers_take_turns_and_hear_of_the_end(players: list[Any]) -> None:
    turns = Turns.between_two()

    @ray.remote(num_cpus=0)
    def other(turns: Turns) -> bool:
        with turns.taken():
            return turns.ended

    with turns.taken():
        waits = other.remote(turns)
        assert ray.wait([waits], timeout=1.0)[0] == []
        turns.end()
    assert ray.get(waits, timeout=60)
    alone = Turns()
    with alone.taken(), alone.taken():
        assert not alone.ended
    alone.end()
    assert alone.ended


def test_a_stream_goes_on_where_it_was() -> None:
    stream = TaskStream(3)
    assert (len(stream), stream.exhausted) == (3, False)
    stream.step = 2
    other = TaskStream(3)
    other.load_state_dict(json.loads(json.dumps(stream.state_dict())))
    assert (other.step, other.exhausted) == (2, False)
    other.step += 1
    assert other.exhausted
    job = SimpleNamespace(config=SimpleNamespace(steps=7), recipe=SimpleNamespace(epochs=2, minibatches=3))
    made, nothing, updates = prepare_streams(SimpleNamespace(args=SimpleNamespace(stepgym=job)), None)
    assert (len(made), nothing, updates) == (7, None, 42)


def saved(folder: Path, model: str, *tags: str, whole: bool = True) -> None:
    for tag in tags:
        (folder / model / tag).mkdir(parents=True)
        if whole:
            (folder / model / tag / "metric.json").write_text("{}")
    (folder / model / "latest").write_text(tags[-1])


def test_a_kill_between_checkpoints_is_mended(tmp_path: Path) -> None:
    assert mend(tmp_path / "nothing", critic=True) == 0
    ahead = tmp_path / "ahead"
    saved(ahead, "_actor", "global_step10", "best_global_step20", "global_step20")
    saved(ahead, "_critic", "global_step10")
    assert mend(ahead, critic=True) == 10
    assert (ahead / "_actor" / "latest").read_text() == "global_step10"

    torn = tmp_path / "torn"
    saved(torn, "_actor", "best_global_step4", "global_step4")
    saved(torn, "_actor", "global_step6", whole=False)
    assert mend(torn, critic=False) == 4
    assert (torn / "_actor" / "latest").read_text() == "global_step4"

    gone = tmp_path / "gone"
    saved(gone, "_actor", "best_global_step8")
    (gone / "_actor" / "latest").write_text("global_step9")
    assert mend(gone, critic=False) == 8
    assert (gone / "_actor" / "latest").read_text() == "best_global_step8"

    first = tmp_path / "first"
    saved(first, "_actor", "global_step2", whole=False)
    assert mend(first, critic=False) == 0
    assert not (first / "_actor").exists()


def test_shares_and_updates_are_said_in_openrlhfs_log() -> None:
    measures = {"reward": math.nan, "groups": 4, "useful_groups": 1, "failed_groups": 3, "part_similarity": 0.5}
    logs = log_of(Gathered(step=1, measures=measures))
    assert logs["stepgym/filter_rate"] == 0.25
    assert logs["stepgym/helped_groups"] == 0.75
    assert logs["stepgym/part_similarity"] == 0.5
    assert "stepgym/reward" not in logs, "no attempt was graded"
    assert "stepgym/filter_rate" not in log_of(Gathered(step=1, measures={"demonstrations": 3}))
    status = {
        "policy_loss": 1.0,
        "stepgym/updates": 4.0,
        "stepgym/clipped": 0.1,
        "stepgym/share": 0.02,
        "vllm_kl": 0.01,
        "timing/x": 1.0,
    }
    update = update_of(status, 10, 2)
    assert (update.updates, update.tokens, update.passes) == (4, 10, 2)
    assert update.measures == {"clipped": 0.1, "share": 0.02, "vllm_kl": 0.01}
    assert math.isnan(update.gradient)


def test_ranks_are_the_processes_that_get_rows_of_their_own() -> None:
    args = SimpleNamespace(
        actor=SimpleNamespace(num_nodes=2, num_gpus_per_node=8),
        ds=SimpleNamespace(ring_attn_size=2, tensor_parallel_size=4),
    )
    assert ranks_of(args) == 2


def test_a_model_that_nothing_ends_is_refused(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from stepgym.trainers.cluster.controller.source import reading_of

    endless = make_tiny_qwen(tmp_path, context=128, width=16, layers=1)
    for name in ("config.json", "generation_config.json"):
        described = json.loads((endless / name).read_text())
        described.pop("eos_token_id", None)
        (endless / name).write_text(json.dumps(described))
    tokenizer = AutoTokenizer.from_pretrained(endless)
    assert reading_of(str(endless), tokenizer).end == tokenizer.eos_token_id
    tokenizer.eos_token = None
    with pytest.raises(ConfigError, match="names a token that ends a reply"):
        reading_of(str(endless), tokenizer)


def test_measures_reach_weights_and_biases(tmp_path: Path) -> None:
    script = tmp_path / "log.py"
    script.write_text(
        "from stepgym.trainers.cluster.cpu.shim import install; install()\n"
        "from types import SimpleNamespace as space\n"
        "from openrlhf.utils.logging_utils import WandbLogger\n"
        "from stepgym.trainers.cluster.controller.recording import log_of\n"
        "from stepgym.trainers.cluster.controller.stream import Gathered\n"
        "where = space(key='x' * 40, org=None, group=None, project='p', run_name='r')\n"
        "logger = WandbLogger(space(logger=space(wandb=where)))\n"
        "logger.log_train(1, log_of(Gathered(step=1, measures={'groups': 4, 'useful_groups': 3})))\n"
        "logger.close()\n"
    )
    environment = os.environ | {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-P", str(script)], env=environment, check=True, capture_output=True, timeout=120)
    (kept,) = tmp_path.rglob("*.wandb")
    content = kept.read_bytes()
    assert b"train/stepgym/filter_rate" in content
    assert b"0.75" in content
