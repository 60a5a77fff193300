"""Every reading of awkward spectra, at every scale: the truth is within what is said, or not OK."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core import tree
from thalweg.core.complement import SMALL
from thalweg.core.result import Result
from thalweg.probes import (
    Moment,
    gradient_norm,
    preconditioned_sharpness,
    sharpness,
    smallest_eigenvalue,
    top_eigenvalues,
)
from thalweg.problems import Function

P = 150
SCALES = {"float64": (1.0, 1e-165, 1e150), "float32": (1.0, 1e-22, 1e15)}


def families(p: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Twenty-four spectra of p eigenvalues (some need p >= 12), drawn anew at every call."""
    few = max(p // 25, 1)
    even, noise = np.linspace(0, 0.9, p), rng.normal(size=p)

    def top(values, bulk=even):
        values = np.asarray(values, float)[:p]
        return np.r_[values, bulk[: p - len(values)]]

    return [
        top(np.ones(few)),
        top(np.ones(2 * few)),
        top(1 - 1e-3 * np.arange(few + 2)),
        top(1 - 1e-9 * np.arange(few + 2)),
        top([1.0]),
        top([100.0], noise),
        np.linspace(0, 1, p),
        np.cos(np.pi * (np.arange(p) + 0.5) / p),
        1 - np.cos(np.pi * np.arange(p) / (2 * p)),
        0.7 ** np.arange(p),
        1 / (1.0 + np.arange(p)),
        noise,
        np.ones(p),
        -np.ones(p),
        np.zeros(p),
        np.r_[np.zeros(p - 1), 1.0],
        np.r_[np.zeros(p - few), rng.exponential(size=few)],
        rng.permutation(np.r_[noise[: p // 2], -noise[: p // 2], np.zeros(p % 2)]),
        rng.choice([-1.0, 1.0], p),
        np.r_[1e-2 * rng.uniform(size=p - few), -rng.exponential(size=few)],
        -1 - rng.exponential(size=p),
        np.r_[1e-9 * rng.uniform(size=p - few), np.ones(few)],
        np.exp(3 * noise),
        np.r_[np.zeros(p // 2), rng.normal(size=p - p // 2) ** 3],
    ]


def spectra(p: int, draws: int) -> np.ndarray:
    rng = np.random.default_rng(p)
    return np.stack([s for _ in range(draws) for s in families(p, rng)])


def reflected(spectrum, turn):
    """v -> R diag(spectrum) R v, R the reflection along a unit vector, or I for zero."""

    def turned(v):
        return v - 2 * turn * (turn @ v)

    return lambda v: turned(spectrum * turned(v))


def reader(probe):
    """All readings of many matrices in one compilation."""

    def one(spectrum, turn, key):
        product, p = reflected(spectrum, turn), len(spectrum)
        problem = Function(lambda x: 0.5 * x @ product(x), jnp.ones(p, spectrum.dtype))
        moment = Moment(jnp.zeros((), int), key, jnp.ones(p, spectrum.dtype) * 4)
        start = jnp.ones(p, spectrum.dtype)
        return probe.measure(problem, start, probe.start(problem, start), moment)[0]

    return jax.jit(jax.vmap(one))


def outside(reading, truth, size, side):
    """Which readings are OK though the truth is not where they say.

    Args:
        reading: A batch of readings.
        truth: What they should be, of the shape of their values.
        size: Largest |eigenvalue| of every spectrum: the unit of rounding.
        side: 1 if the truth is in [value, value + error], -1 if in [value - error, value].
    """
    value, error = (np.asarray(part, float).reshape(len(size), -1) for part in reading[:2])
    beyond = side * (np.reshape(truth, value.shape) - value)
    rounding = 10 * np.finfo(np.asarray(reading[0]).dtype).eps * size[:, None]
    wrong = ~((beyond >= -rounding) & (beyond <= error + rounding))
    return np.any(wrong, axis=1) & (np.asarray(reading[2]) == Result.OK)


COUNT = 5
INSTRUMENTS = {
    "sharpness": (sharpness(), 1),
    "top_eigenvalues": (top_eigenvalues(COUNT), 1),
    "smallest_eigenvalue": (smallest_eigenvalue(), -1),
    "preconditioned_sharpness": (preconditioned_sharpness(lambda d: d), 1),
}


def truths(name, drawn):
    ordered = np.sort(drawn, axis=1)[:, ::-1]
    return {
        "sharpness": ordered[:, :1],
        "top_eigenvalues": ordered[:, :COUNT],
        "smallest_eigenvalue": ordered[:, -1:],
        "preconditioned_sharpness": ordered[:, :1] / 4,
    }[name]


def campaign(name, p, draws, precision):
    """Counts over all scales: readings, those that are OK, those that are OK and wrong."""
    probe, side = INSTRUMENTS[name]
    read, rng = reader(probe), np.random.default_rng(p)
    made = spectra(p, draws)
    turns = rng.normal(size=made.shape)
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    turns[1::3] = 0  # eigenvectors along the axes
    counts = np.zeros(3, int)
    wrong = []
    for i, scale in enumerate(SCALES[precision]):
        drawn = jnp.asarray(made * scale, precision)
        keys = jax.random.split(jax.random.key(i), len(made))
        reading = read(drawn, jnp.asarray(turns, precision), keys)
        # In units of the scale, where the comparison does not leave the format.
        value, error = (np.asarray(part, float) / scale for part in reading[:2])
        value = value.astype(precision)
        exact = np.asarray(drawn, float) / scale
        lies = outside(
            (value, error, reading[2]), truths(name, exact), np.abs(exact).max(axis=1), side
        )
        counts += len(made), np.sum(np.asarray(reading[2]) == Result.OK), lies.sum()
        wrong += [(scale, int(j), value[j], error[j]) for j in np.flatnonzero(lies)]
    return counts, wrong


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "precision"), [("top_eigenvalues", "float64"), ("smallest_eigenvalue", "float32")]
)
def test_no_reading_is_wrong_and_ok(name, precision):
    counts, wrong = campaign(name, P, 1, precision)
    assert wrong == []
    # A code that always says no would be honest too.
    assert counts[1] >= 0.7 * counts[0]


@pytest.mark.slow
@pytest.mark.parametrize("precision", SCALES)
@pytest.mark.parametrize("name", INSTRUMENTS)
def test_no_reading_of_240_spectra_is_wrong_and_ok(name, precision):
    counts, wrong = campaign(name, P, 10, precision)
    print(name, precision, *counts)
    assert wrong == []
    assert counts[1] >= 0.7 * counts[0]


@pytest.mark.slow
@pytest.mark.parametrize("p", [12, 13, 41, 400])
@pytest.mark.parametrize("name", INSTRUMENTS)
def test_other_sizes(name, p):
    counts, wrong = campaign(name, p, 2, "float64")
    print(name, p, *counts)
    assert wrong == []


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize(
    "name", ["sharpness", pytest.param("top_eigenvalues", marks=pytest.mark.slow)]
)
def test_what_overtakes_unseen_is_found_at_the_next_recheck(name):
    """Directions that no carried vector knows rise one after the other, along axes."""
    p, period = SMALL + 4, 10
    probe = (sharpness if name == "sharpness" else functools.partial(top_eigenvalues, 3))(
        recheck=period
    )
    start = jnp.ones(p)

    def problem(spectrum):
        return Function(lambda x: 0.5 * jnp.sum(spectrum * x**2), start)

    @jax.jit
    def follow(spectra):
        def on(memory, at):
            record, spectrum = at
            moment = Moment(record, jax.random.fold_in(jax.random.key(3), record))
            reading, memory = probe.measure(problem(spectrum), start, memory, moment)
            return memory, reading

        records = jnp.arange(len(spectra))
        return jax.lax.scan(on, probe.start(problem(start), start), (records, spectra))[1]

    times = np.arange(60)[:, None]
    bulk = np.linspace(-1, 1, p)
    rising = np.where(np.arange(p) % 9 == 4, 0.2 * times * (1 + np.arange(p) / p), 0)
    spectra = np.maximum(bulk, 0) + rising
    reading = follow(jnp.asarray(spectra))
    truth = np.sort(spectra, axis=1)[:, ::-1][:, : 1 if name == "sharpness" else 3]
    lies = outside(reading, truth, np.abs(spectra).max(axis=1), 1)
    looked = [0, 5, *range(15, 60, period)]
    assert [r for r in range(60) if probe.bounds(r, p)] == looked
    assert not np.any(lies[looked])
    assert np.all(np.asarray(reading.result)[looked] == Result.OK)
    value = np.asarray(reading.value).reshape(len(times), -1)
    assert np.all(value[looked] >= 0.98 * truth[looked])


@pytest.mark.slow
@pytest.mark.parametrize(
    "spectrum", [[3.0], [-3.0], [0.0], [2.0, 2.0], [1.0, 0.0], [0.0, 0.0, 0.0]]
)
def test_few_dimensions_at_every_scale(spectrum):
    for scale in (1.0, 1e-165, 1e150):
        lam = scale * np.asarray(spectrum)
        problem = Function(lambda x, lam=lam: 0.5 * jnp.sum(lam * x**2), np.ones(len(lam)))
        for probe, right in (
            (sharpness(), lam.max()),
            (top_eigenvalues(len(lam)), -np.sort(-lam)),
            (smallest_eigenvalue(), lam.min()),
        ):
            reading = tw.measure(problem, problem.start, probe)
            assert reading.result == Result.OK
            assert np.all(np.abs(np.asarray(reading.value) - right) <= 1e-12 * scale)
            assert np.all(np.asarray(reading.error) <= 1e-2 * scale)


def test_norms_hold_where_squares_leave_the_format():
    for dtype, scale in ((jnp.float64, 1e-200), (jnp.float64, 1e200), (jnp.float32, 1e-30)):
        problem = Function(lambda x, s=scale: s * jnp.sum(x), jnp.zeros(9, dtype))
        reading = tw.measure(problem, jnp.zeros(9, dtype), gradient_norm())
        assert float(reading.value) / scale == pytest.approx(3, rel=1e-6)
    assert float(tree.norm({"a": jnp.full(9, 1e-170), "b": jnp.zeros(())})) == pytest.approx(3e-170)
    assert np.isnan(float(tree.norm([jnp.asarray([1.0, jnp.nan])])))
    assert float(tree.length(jnp.zeros(3))) == float(tree.length(jnp.zeros(0))) == 0
