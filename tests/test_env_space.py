"""TextSpace: all of Unicode, cheaply, wherever Gymnasium takes a space."""

from __future__ import annotations

import pickle
from copy import deepcopy

import numpy as np
import pytest
from gymnasium.spaces import Dict, Discrete, Text, flatdim, flatten, flatten_space, unflatten
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from stepgym.envs import TextSpace

LATEX = r"Let $\frac{a}{b}\le\sqrt{π}$; so \boxed{½}."


@pytest.mark.parametrize("text", ["", LATEX, "中文 🧮\n\t\0", "\ud800 alone", "x" * 1000])
def test_any_text_belongs_to_it(text: str) -> None:
    assert text in TextSpace(1000)


@pytest.mark.parametrize("thing", [None, 3, b"bytes", ["list"], np.array("x"), "x" * 1001])
def test_nothing_else_does(thing: object) -> None:
    assert thing not in TextSpace(1000)


def test_samples_repeat_with_the_seed_and_belong_to_it() -> None:
    one, other = TextSpace(seed=7), TextSpace()
    other.seed(7)
    samples = [one.sample() for _ in range(200)]
    assert samples == [other.sample() for _ in range(200)]
    assert all(sample in one for sample in samples)
    assert len(set(samples)) > 150
    assert any(not sample.isascii() for sample in samples)
    assert all(TextSpace(3, seed=i).sample() in TextSpace(3) for i in range(50))


def test_masks_are_refused() -> None:
    with pytest.raises(ValueError, match="without mask"):
        TextSpace().sample(mask=(3, None))


def test_equal_by_length_alone_and_never_to_a_text_with_an_alphabet() -> None:
    assert TextSpace(5) == TextSpace(5, seed=1)
    assert TextSpace(5) != TextSpace(6)
    assert TextSpace(5) != Text(5)
    assert Text(5) != TextSpace(5)


def test_copies_and_pickles_are_small_and_keep_the_generator() -> None:
    space = TextSpace(seed=3)
    assert len(pickle.dumps(TextSpace())) < 500
    for copied in (deepcopy(space), pickle.loads(pickle.dumps(space))):
        assert copied == space
        assert copied.sample() == deepcopy(space).sample()


def test_batching_functions_take_it() -> None:
    space = TextSpace()
    batched = batch_space(space, 3)
    assert ("a", LATEX, "") in batched
    assert batched.sample() in batched
    assert list(iterate(batched, ("a", "b", "c"))) == ["a", "b", "c"]
    assert concatenate(space, ["a", "b"], create_empty_array(space, 2)) == ("a", "b")
    assert create_empty_array(space, 2) == ("", "")


@pytest.mark.parametrize("text", ["", LATEX, "🧮"])
def test_flattening_is_code_points_and_can_be_undone(text: str) -> None:
    space = TextSpace(60)
    flat = flatten(space, text)
    assert flat in flatten_space(space)
    assert flat.shape == (flatdim(space),)
    assert unflatten(space, flat) == text


def test_it_nests() -> None:
    space = Dict(text=TextSpace(), number=Discrete(3))
    assert space.sample() in space
    assert {"text": LATEX, "number": 1} in space
