"""Shared types are trees of arrays, and axis letters of names are those of the legend."""

import ast
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax import types
from uniwav_jax.types import Batch, Example, TrainState, Variables


def test_the_variables_of_a_state_are_its_arrays_without_the_optimizer():
    state = TrainState(
        step=jnp.asarray(3),
        params={"a": jnp.ones(2)},
        opt_state={"moments": jnp.ones(9)},
        ema={"b": jnp.ones(3)},
        state={"c": jnp.ones(4)},
        frozen={"d": jnp.ones(5)},
        skipped=jnp.zeros(2, int),
    )
    variables = state.variables
    assert isinstance(variables, Variables)
    assert variables.params is state.params and variables.frozen is state.frozen
    assert [leaf.size for leaf in jax.tree.leaves(variables)] == [2, 3, 4, 5]
    assert len(jax.tree.leaves(state)) == 7


def test_what_a_batch_lacks_is_no_leaf():
    """So that programs for audio and for latents are compiled apart, by their trees."""
    numbers, bad = np.ones(2, np.int32), np.zeros(2, bool)
    audio = Batch(audio=np.zeros((2, 8), np.int16), samples=numbers, bad=bad)
    latents = Batch(audio=None, samples=numbers, bad=bad, latents=np.zeros((2, 3, 4)))
    assert len(jax.tree.leaves(audio)) == len(jax.tree.leaves(latents)) == 3
    assert jax.tree.structure(audio) != jax.tree.structure(latents)


def test_rows_of_all_arrays_are_cut_together():
    example = Example(jnp.zeros((4, 5, 2)), jnp.arange(4), {"tokens": jnp.zeros((4, 3))})
    half = jax.tree.map(lambda a: a[2:], example)
    assert half.frames_B.tolist() == [2, 3] and half.labels["tokens"].shape == (2, 3)
    first, second = (Example(jnp.zeros((1, 1, 1)), jnp.ones(1)) for _ in range(2))
    first.labels["tokens"] = 1
    assert second.labels == {}  # not one dict for all


def test_axis_letters_are_in_the_legend_or_described():
    """A capital letter of a suffix such as _BxTxD; small ones are sizes of a function's own."""
    legend = set(re.findall(r"(?:^| {2,})([A-Z])  ", types.__doc__, re.MULTILINE))
    assert legend == set("BTSCDHLKVUWFE")
    unknown = []
    package = pathlib.Path(types.__file__).parent
    for path in sorted(package.rglob("*.py")):
        text = path.read_text()
        letters = {
            letter
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Name | ast.arg)
            for suffix in re.findall(
                r"_(\w(?:x\w)+)$", node.id if isinstance(node, ast.Name) else node.arg
            )
            for letter in suffix.split("x")
            if letter.isupper()
        }
        documented = " ".join(re.findall(r'"""(.*?)"""', text, re.DOTALL))
        unknown += [
            f"{path.relative_to(package)}: {letter}"
            for letter in sorted(letters - legend)
            if not re.search(rf"\b{letter}\b", documented)
        ]
    assert not unknown
