"""What reaches the loss in OpenRLHF: rows, minibatches, weights, and the numbers that come back."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch

from stepgym.records import Reply, Score, Step, Stop, Task, Trajectory
from stepgym.trainers import Group, Sample, TrainConfig
from stepgym.trainers.batches import TokenBatch, make_batches, sample_weights
from stepgym.trainers.losses import Normalise
from stepgym.trainers.making import make_recipe
from stepgym.trainers.samples import Term
from tests.recipe_material import attempt, material
from tests.tiny_qwen import make_tiny_qwen

pytest.importorskip("openrlhf", reason="OpenRLHF is not installed; `make test-cluster` runs this where it is")

from stepgym.trainers.backbone import LanguageModel
from stepgym.trainers.cluster.cpu.shim import HOOK
from stepgym.trainers.cluster.learning.experience import Row, blank, to_experience, token_batch
from stepgym.trainers.cluster.learning.replay_buffer import split, split_further
from stepgym.trainers.huggingface import HuggingFace, load_huggingface
from stepgym.trainers.learner import Learner
from tests.openrlhf_trainers import Case, append, learn, trainer_for

HINT, QUESTIONS = "count on your fingers", ("what is first?", "what is second?")
TASK = Task(id="sum", prompt="What is 2 + 3?", answer="5", hint=HINT, subquestions=QUESTIONS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_qwen(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def backbone(model: Path) -> HuggingFace:
    return load_huggingface(str(model), "cpu")


def scored(samples: Sequence[Sample], model: LanguageModel) -> list[tuple[float, ...]]:
    learner = Learner(model, make_recipe("grpo"), TrainConfig(recipe="grpo"))
    return learner.logprobs(samples, model)


def around(samples: Sequence[Sample]) -> list[tuple[float, ...]]:
    """Log-probabilities that a model with random weights might give."""
    return [tuple(-5.0 * at for at in sample.trained) for sample in samples]


def case_of(model: Path, recipe: str, samples: Sequence[Sample], *settings: str, **options: Any) -> Case:
    config = TrainConfig(recipe=recipe, settings=settings, batch_tokens=options.pop("batch_tokens", 256))
    return Case(config=config, model=str(model), samples=samples, **options)


def rows(count: int, *, seed: int = 0) -> list[Sample]:
    rng = random.Random(seed)
    made = [attempt(rng, turns=1 + i % 3) for i in range(count)]
    return [replace(sample, logprobs=logprobs) for sample, logprobs in zip(made, around(made), strict=True)]


# A row, there and back


def test_a_row_says_of_tokens_what_its_sample_said() -> None:
    """The same tensors as the local engine makes of the same samples, though these are padded elsewhere."""
    samples = [*rows(3), *material("guide-grpo", around, count=3)]
    made = [to_experience(sample) for sample in samples]
    (expected,) = make_batches(samples, Normalise.TOKEN, max_tokens=10**6)
    weights = sample_weights(samples, Normalise.TOKEN)
    found = [token_batch(row, [weight]) for row, weight in zip(made, weights, strict=True)]
    assert all(row.info.keys() == {"reward"} for row in made), "what rode along was taken out"
    for place, i in enumerate(expected.samples):
        kept = expected.rows == place
        for name in ("targets", "old_logprobs", "advantages", "returns", "reference", "off_policy", "weights", "terms"):
            assert torch.equal(getattr(found[i], name), getattr(expected, name)[kept]), name
        assert torch.equal(found[i].places, expected.places[kept] - place * expected.tokens.shape[1])
        assert found[i].tokens[0].tolist() == [*samples[i].context, *samples[i].tokens][:-1]


def test_a_blank_row_weighs_nothing() -> None:
    like = to_experience(rows(1)[0])
    like.info["more"] = torch.tensor([3.0])
    made = blank(like)
    assert made.info.keys() == like.info.keys()
    assert made.info["more"].tolist() == [0.0]
    assert not made.action_mask.any()
    assert token_batch(made, [0.0]).weights.numel() == 0


# Minibatches and micro-batches


def row(length: int, place: int = 0) -> Row:
    return Row(place=place, term=Term.POLICY, weight=1.0, trained_count=1, length=length)


@pytest.mark.parametrize("packing", [False, True])
def test_micro_batches_stay_within_their_tokens(packing: bool) -> None:
    lengths = [random.Random(0).randint(2, 90) for _ in range(50)]
    made = split([row(length) for length in lengths], 100, packing=packing)
    assert Counter(one.length for part in made for one in part) == Counter(lengths)
    for part in made:
        padded = sum(one.length for one in part) if packing else len(part) * max(one.length for one in part)
        assert padded <= 100
    assert len(made) <= 2 * sum(lengths) / 100 + 1 or not packing
    assert [len(part) for part in split([row(300), row(300)], 100, packing=packing)] == [1, 1]


def test_micro_batches_are_halved_until_there_are_as_many_as_elsewhere() -> None:
    made = split_further([(row(1), row(2), row(3), row(4), row(5)), (row(6),)], 5)
    assert sorted(one.length for part in made for one in part) == [1, 2, 3, 4, 5, 6]
    assert len(made) == 5
    assert all(made)


def test_each_epoch_goes_through_all_rows_in_minibatches_of_all_terms(model: Path) -> None:
    samples = material("a2d-reasoner", around, count=12)
    settings = ("minibatches=4", "epochs=3", "group=2")
    answer_of = trainer_for(case_of(model, "a2d-reasoner", samples, *settings))
    append(answer_of, case_of(model, "a2d-reasoner", samples))
    buffer = answer_of.replay_buffer
    buffer.setup_dynamic_batch(answer_of.strategy)
    parts = [[one for one in buffer.micro_batches if one.update == update] for update in range(buffer.updates)]
    assert buffer.updates == 12
    orders = []
    for epoch in range(3):
        of_epoch = [[row for one in part for row in one.rows] for part in parts[4 * epoch : 4 * epoch + 4]]
        assert sorted(row.place for part in of_epoch for row in part) == list(range(len(samples)))
        assert max(map(len, of_epoch)) - min(map(len, of_epoch)) <= 1
        assert all({row.term for row in part} >= {Term.POLICY, Term.DISTILLATION} for part in of_epoch)
        orders.append([[row.place for row in part] for part in of_epoch])
    assert orders[0] != orders[1]
    assert [sum(ends) for ends in ends_of(buffer, parts)] == [1] * 12
    for part in parts:
        chosen = [row for one in part for row in one.rows]
        weights = [weight for one in part for weight in one.weights]
        assert weights == pytest.approx(sample_weights(chosen, Normalise.SEQUENCE))


def ends_of(buffer: Any, parts: Sequence[Sequence[Any]]) -> Iterator[list[int]]:
    left = iter(buffer.dynamic_optimizer_step)
    for part in parts:
        ends = [next(left) for _ in part]
        assert ends[-1] == 1
        yield ends


def test_fewer_rows_than_minibatches_make_fewer_updates(model: Path) -> None:
    answer = learn(case_of(model, "grpo", rows(3), "minibatches=8"))
    assert len(answer.gradients) == 3
    assert answer.status["stepgym/updates"] == 3


def test_nothing_to_learn_from_changes_nothing(model: Path) -> None:
    """Adam's moments alone would move the weights on."""
    case = case_of(model, "grpo", rows(4))
    trainer = trainer_for(case)
    append(trainer, case)
    trainer.ppo_train(0.0)
    trainer.replay_buffer.clear()
    before = [weight.clone() for weight in trainer.actor.model.module.parameters()]
    assert trainer.ppo_train(0.0) == {}
    trainer.replay_buffer.append(blank(to_experience(case.samples[0])))
    assert trainer.ppo_train(0.0) == {}
    assert all(map(torch.equal, trainer.actor.model.module.parameters(), before))
    append(trainer, case)
    trainer.ppo_train(0.0)
    assert not all(map(torch.equal, trainer.actor.model.module.parameters(), before))


# Numbers for the log


def test_logged_measures_are_sums_over_minibatches_of_uneven_micro_batches(model: Path) -> None:
    samples = [*material("grpo", around, count=10), *rows(1, seed=5)]
    trainer = trainer_for(case_of(model, "grpo", samples, "minibatches=2", "epochs=2", "kl=0.1"))
    append(trainer, case_of(model, "grpo", samples))
    loss = trainer.actor_loss_fn
    sums: list[dict[str, float]] = []
    loss.register_forward_hook(lambda *_: sums.append(dict(loss.sums)))
    status = trainer.ppo_train(0.0)
    parts = trainer.replay_buffer.micro_batches
    assert len(sums) == len(parts) > 4
    assert len({part.tokens for part in parts}) > 2
    of_update = [[number for number, part in zip(sums, parts, strict=True) if part.update == u] for u in range(4)]
    for name in ("policy_loss", "ppo_kl", "ppo_clip_ratio", "stepgym/kl", "stepgym/clipped", "stepgym/kl_reference"):
        expected = fmean(sum(part[name] for part in update) for update in of_update)
        assert status[name] == pytest.approx(expected, rel=1e-5, abs=1e-8), name
    assert status["vllm_kl"] == pytest.approx(sum(part["vllm_kl"] for part in of_update[0]), rel=1e-5)
    assert status["stepgym/updates"] == 4
    assert not {"stepgym_term", "stepgym_weight", "stepgym_off_policy"} & status.keys()


# Contexts, from a recipe's gathering to the loss


class Helpful:
    """A `Source` of one task at which only attempts with help succeed, every second one. Replies are random."""

    def __init__(self, backbone: HuggingFace) -> None:
        self.backbone, self.rng = backbone, random.Random(0)
        self.hinted: dict[tuple[int, ...], tuple[float, ...]] = {}
        """Log-probabilities of the replies that were given with help."""

    def draw(self, count: int) -> list[Task]:
        return [TASK] * count

    def play(self, tasks: Sequence[Task], copies: int) -> list[Group]:
        return [Group(task, tuple(self.attempt(task, i) for i in range(copies))) for task in tasks]

    def attempt(self, task: Task, index: int) -> Trajectory:
        helped = task.prompt != TASK.prompt
        prompt, tokens = self.context(task), tuple(self.rng.randrange(3, 259) for _ in range(5 + index))
        (logprobs,) = scored([attempt_of(prompt, tokens)], self.backbone.model)
        if helped:
            self.hinted[tokens] = logprobs
        reply = Reply(text="", prompt=prompt, tokens=tokens, logprobs=logprobs)
        step = Step(observation=task.prompt, reply=reply, score=Score(float(helped and index % 2 == 0)))
        return Trajectory(task=task, steps=(step,), stop=Stop.ANSWERED)

    def context(self, task: Task) -> tuple[int, ...]:
        chat = [{"role": "user", "content": task.prompt}]
        text = self.backbone.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return tuple(self.backbone.encode(text))

    def reference_logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        return scored(samples, self.backbone.model)


def attempt_of(context: Sequence[int], tokens: Sequence[int]) -> Sample:
    zeros = (0.0,) * len(tokens)
    at = tuple(context)
    return Sample(
        context=at,
        sampled_in=at,
        tokens=tuple(tokens),
        trained=(True,) * len(tokens),
        logprobs=zeros,
        rewards=zeros,
        advantages=zeros,
    )


def learned_by(recipe: str, model: Path, source: Helpful, *settings: str) -> tuple[list[TokenBatch], dict[str, float]]:
    """What the loss was given, and what the log got."""
    samples = make_recipe(recipe, settings).gather(source).samples
    trainer = trainer_for(case_of(model, recipe, samples, *settings))
    append(trainer, case_of(model, recipe, samples, *settings))
    loss = trainer.actor_loss_fn
    seen: list[TokenBatch] = []
    loss.register_forward_pre_hook(lambda *_: seen.append(loss.batch))
    return seen, trainer.ppo_train(0.0)


def each_row(batches: Sequence[TokenBatch]) -> Iterator[tuple[TokenBatch, torch.Tensor, list[int]]]:
    """Each row's batch, which of the batch's tokens are its own, and the tokens that it is trained on."""
    for batch in batches:
        for number in batch.samples:
            kept = batch.rows == number
            yield batch, kept, batch.targets[kept].tolist()


def context_of(batch: TokenBatch, kept: torch.Tensor, backbone: HuggingFace) -> str:
    first = int(batch.places[kept][0])
    start = first // batch.tokens.shape[1] * batch.tokens.shape[1]
    text: str = backbone.tokenizer.decode(batch.tokens.flatten()[start : first + 1])
    return text


def test_guides_rows_have_no_hint_and_the_hinted_denominator(model: Path, backbone: HuggingFace) -> None:
    source = Helpful(backbone)
    batches, status = learned_by("guide-grpo", model, source, "tasks=2", "group=4")
    found = list(each_row(batches))
    assert len(found) == 8, "both groups failed, and both hinted ones teach"
    for batch, kept, tokens in found:
        assert context_of(batch, kept, backbone).strip().endswith("<|im_start|>assistant")
        assert TASK.prompt in context_of(batch, kept, backbone)
        assert HINT not in backbone.tokenizer.decode(batch.tokens.flatten())
        assert batch.off_policy[kept].all()
        hinted = source.hinted[tuple(tokens)]
        assert batch.old_logprobs[kept].tolist() == pytest.approx(hinted, abs=1e-6)
        (plain,) = scored([attempt_of(source.context(TASK), tokens)], backbone.model)
        assert plain != pytest.approx(hinted, abs=1e-3)
    assert status["stepgym/guided_share"] == pytest.approx(1, abs=1e-6)
    assert status["vllm_kl"] == 0, "the sampler is not to blame for what a hint does"
    assert status["ppo_kl"] != 0


def test_the_reasoners_distilled_rows_follow_the_diversity_prompt(model: Path, backbone: HuggingFace) -> None:
    diversity = "Surprise me. {prompt}"
    source = Helpful(backbone)
    settings = ("tasks=2", "group=4", "min_std=-1", "kl=0.1", f"diversity={diversity}")
    batches, status = learned_by("a2d-reasoner", model, source, *settings)
    terms = Counter()
    for batch, kept, tokens in each_row(batches):
        (term,) = {tuple(Term)[place] for place in batch.terms[kept].tolist()}
        terms[term] += 1
        context = context_of(batch, kept, backbone)
        assert ("Surprise me. What is 2 + 3?" in context) == (term is Term.DISTILLATION)
        assert not any(question in context for question in QUESTIONS)
        assert (tuple(tokens) in source.hinted) == (term is Term.DISTILLATION)
    assert terms == {Term.POLICY: 8, Term.DISTILLATION: 4}
    assert status["stepgym/distillation"] > 1


# Asking the models


@pytest.fixture(scope="module")
def ray_on_cpu() -> Iterator[None]:
    """In a folder of its own, of a short name, as its sockets want; some processes write there after the end."""
    import ray

    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        hook = {"worker_process_setup_hook": HOOK}
        ray.init(
            "local",
            num_cpus=4,
            num_gpus=4,  # that there are not: processes are placed by them
            include_dashboard=False,
            log_to_driver=False,
            runtime_env=hook,
            _temp_dir=folder,
        )
        yield
        ray.shutdown()


@pytest.mark.usefixtures("ray_on_cpu")
def test_scorers_ask_every_model_for_every_token(model: Path, backbone: HuggingFace) -> None:
    """Two processes hold the policy, in bfloat16; one the critic. The order is that of the samples."""
    import ray
    from openrlhf.trainer.ray.launcher import RayActorGroup
    from openrlhf.utils import get_strategy

    from stepgym.trainers.cluster.controller.scoring import Scorers
    from stepgym.trainers.cluster.learning.critic_actor import RecipeCriticActor
    from stepgym.trainers.cluster.learning.policy_actor import RecipePolicyActor
    from tests.openrlhf_trainers import arguments

    samples = [*rows(9), *material("guide-ppo", lambda of: scored(of, backbone.model), count=3)]
    args = arguments(case_of(model, "ppo", samples, precision="bf16", ranks=2))
    strategy = get_strategy(args)
    policy = RayActorGroup(1, 2, ray.remote(num_gpus=1)(RecipePolicyActor), num_gpus_per_actor=1)
    critic = RayActorGroup(1, 1, ray.remote(num_gpus=1)(RecipeCriticActor), num_gpus_per_actor=1)
    ray.get(policy.async_init_model_from_pretrained(strategy, str(model), 10, None))
    ray.get(critic.async_init_model_from_pretrained(strategy, str(model), 10))
    scorers = Scorers(policy, critic, None, pad=0, max_tokens=200)
    expected = scored(samples, backbone.model)
    for found, exact, sample in zip(scorers.logprobs(samples), expected, samples, strict=True):
        assert found == pytest.approx(exact, abs=0.1)
        assert [bool(number) for number in found] == list(sample.trained)
    values = scorers.values(samples)
    assert [len(of) for of in values] == [len(sample.tokens) for sample in samples]
    assert scorers.values(samples[:1]) == [pytest.approx(values[0], abs=0.02)]
    assert scorers.logprobs([]) == []
