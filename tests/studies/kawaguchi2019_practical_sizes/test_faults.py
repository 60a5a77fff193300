"""Planted faults: every claim of practical sizes fails when what it rests on is wrong."""

import dataclasses

import jax
import numpy as np
import pytest
import xarray as xr

from thalweg.driver import interpolation
from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.models.starts import gaussian_start
from thalweg.problems import Supervised
from thalweg.studies.kawaguchi2019_practical_sizes import STUDY, descent, exact, threshold
from thalweg.theory.landscape import parameter_count, polyak_lojasiewicz

LAB = Lab(progress=False)
# What is patched here is looked up while something is compiled.
COMPILED = (Supervised,)


@pytest.fixture
def fault(monkeypatch):
    """A function that replaces `place.name` by wrong(right, *arguments)."""
    stale = False

    def plant(place, name, wrong, compiled=False):
        nonlocal stale
        if compiled or place in COMPILED:  # what was compiled with the right one must go
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


C1 = {
    "no biases in E5": (
        parameter_count,
        "dense_count",
        lambda right, into, hidden, out: right(into - 1, hidden, out),
    ),
    "n - 1 units": (
        parameter_count,
        "narrow_wide_widths",
        lambda right, n, c, narrow: right(n - 1, c, narrow),
    ),
    "outputs not counted": (
        parameter_count,
        "parameter_count",
        lambda right, net, into, out: right(net, into, out) - out,
    ),
}


@pytest.mark.parametrize("name", C1)
def test_c1_fails(fault, name):
    fault(*C1[name])
    assert word("C1", counts=exact.counts(LAB)) == "not reproduced"


@pytest.fixture(scope="module")
def good():
    """What C2 and C9 read, without a fault; X2 in small."""
    found = {"domination": exact.domination(LAB), "X2": descent.wide_nets(LAB, (50,), 1, steps=30)}
    assert word("C2", **found) == word("C9", **found) == "reproduced"
    return found


def scaled(whole=1.0, last=1.0, bound=1.0):
    def wrong(right, *arguments):
        chain = right(*arguments)
        return chain._replace(
            whole=whole * chain.whole, last_layer=last * chain.last_layer, bound=bound * chain.bound
        )

    return wrong


def without_ones(right, *arguments):
    return right(*arguments)[:, :-1]


C2 = {
    "factor 2 in the bound": ("gradient_domination", scaled(bound=2)),
    "loss without 1/2": ("gradient_domination", scaled(whole=0.5, last=0.5)),
    "n forgotten": ("gradient_domination", scaled(bound=50)),
    "last layer twice": ("gradient_domination", scaled(last=2)),
}


@pytest.mark.parametrize("name", C2)
def test_c2_fails(fault, good, name):
    fault(polyak_lojasiewicz, *C2[name])
    assert word("C2", **good | {"domination": exact.domination(LAB)}) == "not reproduced"


@pytest.mark.slow
def test_c2_fails_without_the_ones_column(fault, good):
    fault(polyak_lojasiewicz, "last_layer_inputs", without_ones, compiled=True)
    assert word("C2", **good | {"domination": exact.domination(LAB)}) == "not reproduced"


def test_c2_fails_along_runs(good):
    """sigma_1 in the place of sigma_n."""
    runs = good["X2"]
    wrong = runs.assign(constant_bound=0 * runs["sigma"] + 1 / runs["step_size"])
    assert word("C2", **good | {"X2": wrong}) == "not reproduced"


def leading(right, J):
    found = right(J)
    U = np.linalg.svd(J)[0]
    return found._replace(complement=U[:, : J.shape[0] - found.rank])


def no_tolerance(right, J):
    """Every singular value counts, those of the padding too."""
    found = right(np.pad(J, ((0, 0), (0, J.shape[0]))))
    return found._replace(rank=J.shape[0])


C3 = {
    "right end of the spectrum": ("jacobian_rank", leading),
    "rounding counts": ("jacobian_rank", no_tolerance),
    "parameters of one unit less": (
        "parameter_count",
        lambda right, net, into, out: right(net, into - 1, out),
    ),
    "one output": ("minimum_parameters", lambda right, n, out=1: n - 1),
}


@pytest.mark.parametrize("name", C3)
def test_c3_fails(fault, monkeypatch, name):
    monkeypatch.setattr(exact, "NETS", {"d < n": (12, 1, 1)})
    fault(parameter_count, *C3[name])
    assert word("C3", rank=exact.rank(LAB)) == "not reproduced"


SMALL = (20, 36)


@pytest.fixture(scope="module")
def swept():
    """Residuals of X1 in small, and that the claim holds on them."""
    kept = {}
    right = interpolation.interpolation_residuals

    def remembered(inputs, *rest, **options):
        kept[inputs.shape[1]] = right(inputs, *rest, **options)
        return kept[inputs.shape[1]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpolation, "interpolation_residuals", remembered)
        found = threshold.threshold_of(LAB, SMALL, 2, steps=100)
    return kept, found


def test_c4_holds_in_small(swept):
    assert word("C4", X1=swept[1]) == "reproduced"


C4 = {
    "residual times 1e-11": lambda residual: 1e-11 * residual,
    "fits with one net size less": lambda residual: np.roll(residual, -1, axis=0),
    "fits with one net size more": lambda residual: np.roll(residual, 1, axis=0),
    "optimiser that stops early": lambda residual: residual + 1e-9,
}


@pytest.mark.parametrize("name", C4)
def test_c4_fails(swept, monkeypatch, name):
    kept, _ = swept
    monkeypatch.setattr(
        interpolation, "interpolation_residuals", lambda x, *a, **k: C4[name](kept[x.shape[1]])
    )
    found = threshold.threshold_of(LAB, SMALL, 2)
    assert word("C4", X1=found) == "not reproduced"


def smaller(right, A):
    return right(A) / 1000


def random_last(net):
    return gaussian_start(net, 1.0)


def test_c6_fails_with_a_thousandth_of_the_step(fault):
    fault(polyak_lojasiewicz, "last_layer_step", smaller)
    found = descent.narrow_nets(LAB, (50,), (8,), 1)
    assert word("C6", X2_narrow=found) == "not reproduced"


def test_c6_holds_in_small():
    assert word("C6", X2_narrow=descent.narrow_nets(LAB, (50,), (8,), 1)) == "reproduced"


def test_c9_fails_with_a_random_last_layer(monkeypatch):
    monkeypatch.setattr(descent, "zero_last_start", random_last)
    assert word("C9", domination=exact.domination(LAB)) == "not reproduced"


C9 = {"sign": -1.0, "gradient twice": 2.0}


@pytest.mark.parametrize("name", C9)
def test_c9_fails_with_another_slope(fault, name):
    fault(exact, "_slope", lambda right, *a: jax.tree.map(lambda g: C9[name] * g, right(*a)))
    assert word("C9", domination=exact.domination(LAB)) == "not reproduced"


@pytest.mark.slow
def test_c9_fails_with_the_objective_twice(fault):
    fault(Supervised, "objective", lambda right, self, params: 2 * right(self, params))
    assert word("C9", domination=exact.domination(LAB)) == "not reproduced"


@pytest.mark.slow
@pytest.mark.parametrize("claim", ["C5", "C7", "C8"])
def test_the_other_runs_fail_with_a_thousandth_of_the_step(fault, claim):
    fault(polyak_lojasiewicz, "last_layer_step", smaller)
    (declared,) = (c for c in STUDY.claims if c.id == claim)
    found = {name.replace("-", "_"): STUDY.experiments[name](LAB) for name in declared.needs}
    assert word(claim, **found) == "not reproduced"


def ended_well():
    """X2 as C5 wants it, made up: what is left of C5 are its starts."""
    along, ends = ("examples", "seed", "step"), np.ones((3, 1, 2))
    return xr.Dataset(
        {
            "loss": (along, ends * [0.5, 0.0]),
            "accuracy": (along, ends),
            "parameters": ("examples", [1881, 2961, 5121]),
        },
        {"examples": [50, 100, 200]},
    )


def scaled(factor):
    def wrong(right, problem, key):
        params, A = right(problem, key)
        return params, factor * A

    return wrong


C5_STARTS = {
    "features three times as large": (descent, "_start", scaled(3.0)),
    "features a fifth as large": (descent, "_start", scaled(0.2)),
    "a last layer of 1.02 n units": (
        parameter_count,
        "narrow_wide_net",
        lambda right, n, c, narrow: right(n, 1.02, narrow),
    ),
    "examples that coincide": (
        descent,
        "signs",
        lambda right, n, seed: dataclasses.replace(
            right(n, seed), inputs=np.repeat(right(n, seed).inputs[::2], 2, axis=0)
        ),
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name and "layer" in name else ())
        for name in (None, *C5_STARTS)
    ],
)
def test_c5_fails_with_other_starts(fault, name):
    """And holds without a fault; 20 starts of one size show it."""
    if name is not None:
        fault(*C5_STARTS[name])
    found = {"X2": ended_well(), "X2_starts": descent.starts_of((50,), 20)}
    assert word("C5", **found) == ("reproduced" if name is None else "not reproduced")


@pytest.mark.slow
def test_c7_fails_with_a_wide_last_layer(fault):
    """Rank n: not the case that the claim is about."""
    fault(descent, "MLP", lambda right, hidden, *rest, **o: right((16, 16, 120), *rest, **o))
    assert word("C7", X2_rank=descent.few_feature_nets(LAB, 1, steps=500)) == "not reproduced"


@pytest.mark.slow
def test_c8_fails_if_the_test_cases_were_seen(monkeypatch):
    """Random images that repeat the training examples are not at chance."""
    right = descent.random_images

    def repeated(seed):
        data = right(seed)
        rows = np.arange(1200) % descent.TRAIN
        return dataclasses.replace(data, inputs=data.inputs[rows], targets=data.targets[rows])

    monkeypatch.setattr(descent, "random_images", repeated)
    assert word("C8", X3=descent.natural(LAB)) == "not reproduced"
