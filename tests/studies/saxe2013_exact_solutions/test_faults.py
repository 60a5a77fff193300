"""Planted faults: every claim of the study fails when what it rests on is wrong."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.dynamics import GradientDescent
from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.models import initialisers, linear, mlp
from thalweg.problems.linear_targets import DeepLinear
from thalweg.studies.saxe2013_exact_solutions import STUDY, modes
from thalweg.studies.saxe2013_exact_solutions import depth as deep
from thalweg.theory.linear_nets import isometry, linear_modes

LAB = Lab(progress=False)
TANH = mlp([16], "tanh", bias=False)


COMPILED = (DeepLinear, GradientDescent)


@pytest.fixture
def fault(monkeypatch):
    """A function that replaces `place.name` by wrong(right, *arguments)."""
    stale = False

    def plant(place, name, wrong):
        nonlocal stale
        if place in COMPILED:  # what was compiled with the right one must not be met again
            stale = True
            jax.clear_caches()
        right = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, **k: wrong(right, *a, **k))

    yield plant
    if stale:
        jax.clear_caches()


def word(claim, **found):
    results = {name.replace("_", "-"): data for name, data in found.items()}
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], results)
    return verdict.word


def without_half(right, problem, params):
    return 2 * right(problem, params)


def transposed(right, problem, params):
    flipped = DeepLinear(problem.target[::-1], problem.correlation, problem.draw)
    return right(flipped, params)


def decayed(right, problem, params):
    return right(problem, params) + jnp.sum(params[0]["weight"] ** 2)


def single_rate(right, s, u0, t, tau=1.0):
    return right(s, u0, t, 2 * tau)


C1 = {
    "rate s, not 2s": (linear_modes, "mode_trajectory", single_rate),
    "sign of U": (linear_modes, "product_trajectory", lambda right, U, *a: right(-U, *a)),
    "no factor 1/2 in the loss": (DeepLinear, "objective", without_half),
    "another target": (DeepLinear, "objective", transposed),
}


@pytest.mark.parametrize("name", C1)
def test_c1_fails(fault, name):
    fault(*C1[name])
    assert word("C1", X2_network=modes.network(LAB)) == "not reproduced"


def layers_equal(right, a, b, u, s):
    return linear_modes.mode_time(np.abs(a * b), np.abs(u), s)


C2 = {
    "c_0 left out": (linear_modes, "hyperbolic_time", layers_equal),
    "factor 2": (linear_modes, "hyperbolic_time", lambda right, *a: 2 * right(*a)),
    "sign of b": (
        linear_modes,
        "hyperbolic_trajectory",
        lambda right, s, a, b, t: right(s, a, -b, t),
    ),
    "wrong clock": (
        linear_modes,
        "hyperbolic_trajectory",
        lambda right, s, a, b, t: right(s, a, b, t / 2),
    ),
}


@pytest.mark.parametrize("name", C2)
def test_c2_fails(fault, name):
    fault(*C2[name])
    assert word("C2", X2_hyperbola=modes.hyperbola(LAB)) == "not reproduced"


C3 = {
    "exponent of the rate": (
        linear_modes,
        "deep_mode_rate",
        lambda right, L, u, s: L * u ** (2 - 1 / L) * (s - u),
    ),
    "neurons for matrices": (
        linear_modes,
        "deep_mode_rate",
        lambda right, L, u, s: right(L + 1, u, s),
    ),
    "neurons for matrices in time": (
        linear_modes,
        "deep_mode_time",
        lambda right, L, *a: right(np.asarray(L) + 1, *a),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", C3)
def test_c3_fails(fault, monkeypatch, name):
    monkeypatch.setattr(modes, "CHAINS", (2, 5))
    fault(*C3[name])
    found = {"X2_chain": modes.chains(LAB), "X2_limit": modes.limit(LAB)}
    assert word("C3", **found) == "not reproduced"


def only_the_logarithm(right, L, u0, uf, s):
    return 2 * linear_modes.mode_time(u0, uf, s) / (L * s)


LIMIT = {
    "E10 without its poles": (
        "C4",
        (linear_modes, "deep_mode_time_infinite", only_the_logarithm),
    ),
    "neurons for matrices in E9": (
        "C4",
        (linear_modes, "deep_mode_time", lambda right, L, *a: right(np.asarray(L) + 1, *a)),
    ),
    "exponent of the sharpness": (
        "C5",
        (linear_modes, "deep_mode_sharpness", lambda right, L, s: L * s ** (2 - 1 / L)),
    ),
    "sharpness without L": (
        "C5",
        (linear_modes, "deep_mode_sharpness", lambda right, L, s: right(L, s) / L),
    ),
}


@pytest.mark.parametrize("name", LIMIT)
def test_c4_and_c5_fail(fault, name):
    claim, where = LIMIT[name]
    fault(*where)
    assert word(claim, X2_limit=modes.limit(LAB)) == "not reproduced"


def plus(right, weights):
    pairs = pairwise(weights)
    return [W @ W.T + above.T @ above for W, above in pairs]


C6 = {
    "sum, not difference": (linear_modes, "conserved_quantities", plus),
    "weight decay on one layer": (DeepLinear, "objective", decayed),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", C6)
def test_c6_fails(fault, name):
    fault(*C6[name])
    assert word("C6", X2_conserved=modes.conserved(LAB)) == "not reproduced"


def doubled(right, self, problem, state, key):
    return right(GradientDescent(2 * self.step_size), problem, state, key)


def slow_clock(right, self, problem, state, key):
    after, info = doubled(right, self, problem, state, key)
    return after._replace(time=after.time / 2), info


X1 = {
    "rate s, not 2s": (
        "C7",
        (linear_modes, "half_rise_time", lambda right, u0, s: 2 * right(u0, s)),
    ),
    "gradient twice": ("C7", (GradientDescent, "step", slow_clock)),
    "large start": ("C7", (modes, "gaussian_start", lambda right, net, std: right(net, 0.1))),
    "signs of another decomposition": (
        "C11",
        (modes, "mode_strengths", lambda right, U, V: right(U, -V)),
    ),
    "order of another decomposition": (
        "C11",
        (modes, "mode_strengths", lambda right, U, V: right(U[:, ::-1], V[:, ::-1])),
    ),
}


@pytest.mark.parametrize("name", X1)
def test_c7_and_c11_fail(fault, name):
    claim, where = X1[name]
    fault(*where)
    net = ("linear", linear([16])) if claim == "C7" else ("tanh", TANH)
    assert word(claim, X1=modes.tree_modes(LAB, *net, 3)) == "not reproduced"


def strength_per_layer(right, U, V, strength, L, widths, key):
    return right(U, V, strength**L, L, widths, key)


def gaussian_instead(right, key, shape, dtype=jnp.float64, *, gain=1.0):
    return initialisers.INITIALISERS["gaussian"](key, shape, dtype, gain=gain)


def scaled_up(right, key, shape, dtype=jnp.float64, *, gain=1.0):
    return 1.1 * right(key, shape, dtype, gain=gain)


def one_seed(right, target, starts, seeds, *a, **k):
    return right(target, starts, 1, *a, **k)


def wrong_start(monkeypatch, name, wrong):
    right = initialisers.INITIALISERS[name]
    monkeypatch.setitem(initialisers.INITIALISERS, name, lambda *a, **k: wrong(right, *a, **k))


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [gaussian_instead, scaled_up])
def test_c8_fails_without_orthogonal_starts(fault, monkeypatch, wrong):
    fault(deep, "depth_search", one_seed)
    wrong_start(monkeypatch, "orthogonal", wrong)
    assert word("C8", X3=deep.depth(LAB)) == "not reproduced"


@pytest.mark.slow
@pytest.mark.parametrize(
    "where",
    [
        (initialisers, "decoupled_init", strength_per_layer),
        (GradientDescent, "step", doubled),
    ],
    ids=["strength of each layer", "gradient twice"],
)
def test_c8_fails(fault, where):
    fault(deep, "depth_search", one_seed)
    fault(*where)
    assert word("C8", X3=deep.depth(LAB)) == "not reproduced"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "wrong"),
    [("orthogonal", gaussian_instead), ("orthogonal", scaled_up), ("gaussian", scaled_up)],
)
def test_c9_fails_with_other_matrices(monkeypatch, name, wrong):
    wrong_start(monkeypatch, name, wrong)
    assert word("C9", X4=deep.spectra_of(seeds=1)) == "not reproduced"


X4 = {
    "median 2^-depth": (
        "C9",
        (isometry, "gaussian_product_median", lambda right, d: right(2 * np.asarray(d))),
    ),
    "gain left out": (
        "C10",
        (deep, "_tanh_nets", lambda right, W, gains, x: right(W, jnp.ones_like(gains), x)),
    ),
    "fixed point without root": (
        "C10",
        (isometry, "activity_fixed_point", lambda right, g: right(g**2)),
    ),
}


@pytest.mark.parametrize("name", X4)
def test_c9_and_c10_fail(fault, name):
    claim, where = X4[name]
    fault(*where)
    assert word(claim, X4=deep.spectra_of(seeds=1)) == "not reproduced"


@pytest.mark.slow
@pytest.mark.parametrize(
    "where",
    [
        (linear_modes, "deep_mode_sharpness", lambda right, L, s: right(L, s) / L),
        (linear_modes, "deep_mode_rate", lambda right, L, *a: right(L + 1, *a)),
        (GradientDescent, "step", doubled),
    ],
    ids=["sharpness without L", "neurons for matrices", "gradient twice"],
)
def test_c12_fails(fault, where):
    fault(*where)
    assert word("C12", X5=deep.digits(LAB)) == "not reproduced"
