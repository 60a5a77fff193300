"""Oracles in a line of text: what Python makes, and one sentence for all that names none."""

from __future__ import annotations

import inspect

import jax.numpy as jnp
import pytest

import thalweg as tw
from thalweg.oracles.in_words import as_oracle, makers

SAID = {
    "full": tw.oracles.full(),
    "single()": tw.oracles.single(),
    "minibatch(32)": tw.oracles.minibatch(32),
    " minibatch(batch=32, replace=true) ": tw.oracles.minibatch(32, replace=True),
    "label-noise(3e-1)": tw.oracles.label_noise(0.3),
    "label_noise(0.3, single=True, law='sign')": tw.oracles.label_noise(0.3, True, "sign"),
    "label_noise(0.3, false, sign)": tw.oracles.label_noise(0.3, law="sign"),
    "isotropic(1)": tw.oracles.isotropic(1),
    "langevin(0.1, step_size=1e-2)": tw.oracles.langevin(0.1, 0.01),
    "particle-noise(20, 0.1, 3, convention=paper)": tw.oracles.particle_noise(20, 0.1, 3, "paper"),
    "surrogate(surrogate(single), 0.5)": tw.oracles.surrogate(
        tw.oracles.surrogate(tw.oracles.single()), 0.5
    ),
}


@pytest.mark.parametrize("text", SAID)
def test_a_text_is_the_oracle_that_python_makes(text: str) -> None:
    assert as_oracle(text).describe() == SAID[text].describe()
    assert as_oracle(SAID[text]) is SAID[text]


def test_every_maker_of_the_room_has_its_name() -> None:
    """A new one is known by being exported."""
    expected = {name for name in tw.oracles.__all__ if name.islower()}
    assert set(makers()) == expected
    for name in sorted(expected):
        takes = inspect.signature(getattr(tw.oracles, name)).parameters.values()
        if all(parameter.default is not parameter.empty for parameter in takes):
            assert isinstance(as_oracle(name), tw.oracles.Oracle)
            continue
        with pytest.raises(tw.InputError, match=rf"oracle='{name}': {name} takes \(\w+"):
            as_oracle(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read; write a name"),
        ("minibatch(32", "cannot be read"),
        ("1 + 1", "cannot be read"),
        ("minibatch(2**70000)", "cannot be read"),
        ("(lambda: full())()", "cannot be read"),
        ("label_noise(*a)", "cannot be read"),
        ("label_noise(**a)", r"label_noise takes \(sigma"),
        ("tw.oracles.full()", "cannot be read"),
        ("full\0", "cannot be read"),
        ("(" * 500, "cannot be read"),
        ("__import__('os')", "unknown oracle '__import__'"),
        ("label_nois(0.1)", "Did you mean 'label_noise'"),
        ("Oracle", "unknown oracle 'Oracle'"),
        ("ORACLES", "unknown oracle 'ORACLES'"),
        ("label_noise(0.1, sigma=0.2)", r"label_noise takes \(sigma, single=False, law='normal'\)"),
        ("single(1)", r"single takes \(\)"),
        ("label_noise(-1)", "sigma came as -1"),
        ("label_noise(0.1, law=uniform)", "unknown law of the noise 'uniform'"),
        ("minibatch(0)", "a batch of 0 examples came"),
        ("minibatch(nan)", "batch came as the text 'nan'"),
        ("langevin(1, -1)", "step size came as -1"),  # no option --step-size is meant
        ("gaussian(0.3)", "sigma came as 0.3; give a function"),
        ("surrogate(0.3)", "oracle came as 0.3"),
        ("surrogate(minibatch(0))", "a batch of 0 examples came"),
    ],
)
def test_what_names_none_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(tw.InputError, match=words) as caught:
        as_oracle(text)
    assert str(caught.value).startswith("oracle=")
    assert "\n" not in str(caught.value)


def test_an_optimiser_takes_the_text() -> None:
    by_text = tw.dynamics.optimiser("momentum", 0.01, oracle="isotropic(0.5)")
    ball = tw.dynamics.optimiser("momentum", 0.01)
    assert by_text.describe() == tw.noisy(ball, tw.oracles.isotropic(0.5)).describe()
    bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))
    noisy = tw.dynamics.optimiser("sgd", 0.1, oracle="full")
    path = tw.run(bowl, noisy, until=0.2, records=2)
    assert path.dataset["loss"].values[0].tolist() == pytest.approx([1.0, 0.81, 0.6561])
