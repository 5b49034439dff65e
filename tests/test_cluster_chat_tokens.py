"""Chats keep the tokens that were sampled, in the chat templates that models have."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stepgym.agents.chat_prompt import prompt_ids, prompt_text
from stepgym.errors import PolicyError
from stepgym.records import Message, Reply, Role, Score, Step, Stop, Task, Trajectory
from stepgym.trainers.cluster.rollouts.chat_tokens import STAND_IN, Conversation
from stepgym.trainers.samples import to_samples

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_3 = (
    "{{ '<|begin_of_text|>' }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
MISTRAL = (
    "{{ '<s>' }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]{% else %} {{ m['content'] }}</s>{% endif %}"
    "{% endfor %}"
)
QWEN_3 = (
    "{% for m in messages %}{% set said = m['content'] %}"
    "{% if m['role'] == 'assistant' and '</think>' in said and not loop.last %}"
    "{% set said = said.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ said }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
"""Begins the reply itself, and leaves that away in history, as DeepSeek-R1's does."""
QUOTING = CHATML.replace(
    "{{ m['content'] }}", "{{ m['content'] | replace('a', 'A') if m['role'] == 'assistant' else m['content'] }}"
)
TEMPLATES = {"chatml": CHATML, "llama-3": LLAMA_3, "mistral": MISTRAL, "qwen-3": QWEN_3, "none": ""}
ENDS = {"chatml": "<|im_end|>", "llama-3": "<|eot_id|>", "mistral": "</s>", "qwen-3": "<|im_end|>", "none": "</s>"}
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>", "<|start_header_id|>"]
SPECIALS += ["<|end_header_id|>", "<|eot_id|>", "<s>", "</s>"]


def make_tokenizer(template: str, end: str) -> Any:
    """Bytes, and merges of two, so that most texts have several tokenisations."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [(one, other) for one in "abcdeĠ." for other in "abcde.Ċ"]
    pieces = [*SPECIALS, *letters, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, additional_special_tokens=SPECIALS)
    fast.chat_template = template or None
    return fast


@pytest.fixture(params=TEMPLATES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass
class Talk:
    """Takes the parts of both sides, as an agent and an engine would."""

    tokenizer: Any
    chat: list[Message] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.conversation = Conversation(self.tokenizer)

    def turn(self, observation: str, tokens: tuple[int, ...], *, ended: bool) -> Reply:
        self.chat.append(Message(Role.USER, observation))
        prompt = self.conversation.prompt(tuple(self.chat))
        text = self.tokenizer.decode(tokens, skip_special_tokens=True)
        reply = Reply(text=text, prompt=prompt, tokens=tokens, logprobs=(-1.0,) * len(tokens), finished=ended)
        self.conversation.replied(reply, ended=ended)
        self.chat.append(Message(Role.ASSISTANT, text))
        self.steps.append(Step(observation=observation, reply=reply, score=Score(0.0)))
        return reply

    def samples(self) -> list[Any]:
        task = Task(id="1", prompt="")
        return to_samples(Trajectory(task=task, steps=tuple(self.steps), stop=Stop.ANSWERED))


def ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False).input_ids)


def end_of(tokenizer: Any) -> tuple[int, ...]:
    return (tokenizer.eos_token_id,)


def test_a_reply_that_ended_itself_is_followed_by_the_next_turn_alone(family: str) -> None:
    tokenizer = make_tokenizer(TEMPLATES[family], ENDS[family])
    talk = Talk(tokenizer)
    first = talk.turn("abc", ids(tokenizer, "dead bee") + end_of(tokenizer), ended=True)
    second = talk.turn("cab", ids(tokenizer, "abba") + end_of(tokenizer), ended=True)
    if family == "none":  # nothing in its plain text ends a turn, so the text is read anew, without the end
        assert second.prompt == ids(tokenizer, "abc\ndead bee\ncab")
        assert len(talk.samples()) == 2
        return
    known = first.prompt + first.tokens
    assert second.prompt[: len(known)] == known
    assert second.prompt.count(tokenizer.eos_token_id) == prompt_ids(tokenizer, talk.chat[:3]).count(
        tokenizer.eos_token_id
    )
    assert tokenizer.decode(second.prompt).replace(" ", "") == prompt_text(tokenizer, talk.chat[:3]).replace(" ", "")
    (sample,) = talk.samples()
    assert sample.context + sample.tokens == second.prompt + second.tokens
    assert sample.trained_count == len(first.tokens) + len(second.tokens)


def test_a_reply_that_was_cut_is_ended_by_the_template(family: str) -> None:
    tokenizer = make_tokenizer(TEMPLATES[family], ENDS[family])
    talk = Talk(tokenizer)
    first = talk.turn("abc", ids(tokenizer, "dead bee"), ended=False)
    second = talk.turn("cab", ids(tokenizer, "abba"), ended=False)
    glue = second.prompt[len(first.prompt + first.tokens) :]
    assert second.prompt[: -len(glue)] == first.prompt + first.tokens
    assert glue[0] == ids(tokenizer, "\n" if family == "none" else ENDS[family])[0]
    assert len(talk.samples()) == 1


def test_random_tokens_that_no_text_brings_back_are_kept(family: str) -> None:
    tokenizer = make_tokenizer(TEMPLATES[family], ENDS[family])
    rng = random.Random(family)
    lost = together = 0
    for _ in range(60):
        talk = Talk(tokenizer)
        for turn in range(4):
            tokens = tuple(rng.choices(range(len(tokenizer)), k=rng.randint(1, 30)))
            tokens = tuple(token for token in tokens if token != tokenizer.eos_token_id) or (99,)
            ended = rng.random() < 0.5 and family != "none"
            reply = talk.turn(f"{turn} and a b", tokens + end_of(tokenizer) * ended, ended=ended)
            lost += ids(tokenizer, reply.text) != tokens
        samples = talk.samples()
        together += len(samples) == 1
        # Each reply is in a sample as it was sampled, after exactly what the engine was given.
        assert sum(sample.trained_count for sample in samples) == sum(len(step.reply.tokens) for step in talk.steps)
        whole = talk.steps[-1].reply
        assert (samples[-1].context + samples[-1].tokens) == whole.prompt + whole.tokens
    assert lost > 200
    assert together == 60


def test_a_thought_that_the_template_drops_begins_the_chat_anew() -> None:
    tokenizer = make_tokenizer(QWEN_3, "<|im_end|>")
    talk = Talk(tokenizer)
    talk.turn("abc", ids(tokenizer, "<think>bed</think>\n\nbead") + end_of(tokenizer), ended=True)
    second = talk.turn("cab", ids(tokenizer, "no thought") + end_of(tokenizer), ended=True)
    third = talk.turn("deed", ids(tokenizer, "a") + end_of(tokenizer), ended=True)
    assert second.prompt == prompt_ids(tokenizer, talk.chat[:3])
    assert "bed" not in tokenizer.decode(second.prompt)
    assert third.prompt[: len(second.prompt + second.tokens)] == second.prompt + second.tokens
    assert [sample.trained_count for sample in talk.samples()] == [
        len(talk.steps[0].reply.tokens),
        len(second.tokens) + 2,
    ]


@pytest.mark.parametrize("template", [THINKING, QUOTING])
def test_a_template_that_shows_a_reply_otherwise_is_followed(template: str) -> None:
    tokenizer = make_tokenizer(template, "<|im_end|>")
    talk = Talk(tokenizer)
    for observation in ("abc", "cab", "deed"):
        reply = talk.turn(observation, ids(tokenizer, "a bead") + end_of(tokenizer), ended=True)
        assert reply.prompt == prompt_ids(tokenizer, talk.chat[:-1])
    assert len(talk.samples()) == 3


def test_another_end_than_the_templates_begins_the_chat_anew() -> None:
    tokenizer = make_tokenizer(CHATML, "<|endoftext|>")
    talk = Talk(tokenizer)
    talk.turn("abc", ids(tokenizer, "bead<|endoftext|>"), ended=True)
    second = talk.turn("cab", ids(tokenizer, "a<|endoftext|>"), ended=True)
    assert second.prompt == prompt_ids(tokenizer, talk.chat[:3])


def test_what_sounds_like_the_stand_in_or_the_markup_stays_as_it_is() -> None:
    tokenizer = make_tokenizer(CHATML, "<|im_end|>")
    for said in (STAND_IN, f"{STAND_IN} {STAND_IN}", "", " ", "\n", "<|im_end|>\n<|im_start|>user\nx"):
        talk = Talk(tokenizer)
        first = talk.turn(STAND_IN, ids(tokenizer, said) or (99,), ended=False)
        second = talk.turn(said, ids(tokenizer, "a"), ended=False)
        known = first.prompt + first.tokens
        text = prompt_text(tokenizer, talk.chat[:3])
        assert second.prompt[: len(known)] == known or second.prompt == ids(tokenizer, text)
        assert tokenizer.decode(second.prompt).endswith(
            f"<|im_end|>\n<|im_start|>user\n{said}<|im_end|>\n<|im_start|>assistant\n"
        )


def test_a_changed_chat_is_rendered_whole() -> None:
    tokenizer = make_tokenizer(CHATML, "<|im_end|>")
    user, said = Message(Role.USER, "abc"), Message(Role.ASSISTANT, "bead")
    reply_to = Message(Role.USER, "cab")
    for chat in (
        [reply_to],
        [user, Message(Role.ASSISTANT, "other"), reply_to],
        [reply_to, said, reply_to],
        [user, said],
    ):
        conversation = Conversation(tokenizer)
        prompt = conversation.prompt((user,))
        tokens = ids(tokenizer, "be") + ids(tokenizer, "ad")
        conversation.replied(Reply(text="bead", prompt=prompt, tokens=tokens), ended=False)
        assert conversation.prompt(tuple(chat)) == prompt_ids(tokenizer, chat)


def test_a_system_turn_that_a_template_refuses_is_the_policys_error() -> None:
    tokenizer = make_tokenizer(MISTRAL, "</s>")
    with pytest.raises(PolicyError, match="roles must alternate"):
        Conversation(tokenizer).prompt((Message(Role.SYSTEM, "be good"), Message(Role.USER, "abc")))


def test_a_tokenizer_saved_and_loaded_does_the_same(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    make_tokenizer(CHATML, "<|im_end|>").save_pretrained(tmp_path)
    talk = Talk(AutoTokenizer.from_pretrained(tmp_path))
    talk.turn("abc", ids(talk.tokenizer, "bead") + end_of(talk.tokenizer), ended=True)
    talk.turn("cab", ids(talk.tokenizer, "bead") + end_of(talk.tokenizer), ended=True)
    assert len(talk.samples()) == 1
