"""Planted faults: every claim of practical sizes fails when what it rests on is wrong."""

import dataclasses

import jax
import numpy as np
import pytest

from planting import Fault, fault_table
from thalweg import curvature
from thalweg.curvature import polyak_lojasiewicz as measured
from thalweg.driver import interpolation
from thalweg.models.starts import gaussian_start
from thalweg.problems import Supervised
from thalweg.studies.kawaguchi2019_practical_sizes import descent, exact
from thalweg.theory.landscape import parameter_count as counting
from thalweg.theory.landscape import polyak_lojasiewicz


def no_biases(right, into, hidden, out):
    return right(into - 1, hidden, out)


def one_unit_less(right, n, c, narrow):
    return right(n - 1, c, narrow)


def outputs_not_counted(right, net, into, out):
    return right(net, into, out) - out


def scaled_chain(whole=1.0, last=1.0, bound=1.0):
    def wrong(right, *arguments):
        chain = right(*arguments)
        return chain._replace(
            whole=whole * chain.whole, last_layer=last * chain.last_layer, bound=bound * chain.bound
        )

    return wrong


def without_ones(right, *arguments):
    return right(*arguments)[:, :-1]


def leading(right, J):
    found = right(J)
    U = np.linalg.svd(J)[0]
    return found._replace(complement=U[:, : J.shape[0] - found.rank])


def no_tolerance(right, J):
    """Every singular value counts, those of the padding too."""
    found = right(np.pad(J, ((0, 0), (0, J.shape[0]))))
    return found._replace(rank=J.shape[0])


def one_input_less(right, net, into, out):
    return right(net, into - 1, out)


def one_output(right, n, out=1):
    return n - 1


def smaller(right, A):
    return right(A) / 1000


def random_last(right, net):
    return gaussian_start(net, 1.0)


def times(factor):
    """A tree of gradients times a factor."""
    return lambda right, *a: jax.tree.map(lambda g: factor * g, right(*a))


def objective_twice(right, self, params):
    return 2 * right(self, params)


def scaled_features(factor):
    def wrong(right, problem, key):
        params, A = right(problem, key)
        return params, factor * A

    return wrong


def narrower(right, n, c, narrow):
    return right(n, 1.02, narrow)


def coinciding(right, n, seed):
    data = right(n, seed)
    return dataclasses.replace(data, inputs=np.repeat(data.inputs[::2], 2, axis=0))


def wide_last(right, hidden, *rest, **options):
    return right((16, 16, 120), *rest, **options)


def repeated(right, seed):
    """Random images that repeat the training examples are not at chance."""
    data = right(seed)
    rows = np.arange(1200) % descent.TRAIN
    return dataclasses.replace(data, inputs=data.inputs[rows], targets=data.targets[rows])


def c2(wrong, about, place=curvature, name="gradient_domination", compiled=False):
    again = ("domination",)
    return Fault("C2", place, name, wrong, about, reruns=again, compiled=compiled)


def c4(change, about):
    def wrong(right, *a, **k):
        return change(right(*a, **k))

    return Fault("C4", interpolation, "interpolation_residuals", wrong, about)


def c5(place, name, wrong, about):
    return Fault("C5", place, name, wrong, about, reruns=("X2-starts",))


def slow_step(claim, **sizes):
    about = "a thousandth of the step"
    return Fault(claim, polyak_lojasiewicz, "last_layer_step", smaller, about, sizes)


@fault_table(
    Fault("C1", counting, "dense_count", no_biases, "no biases in E5"),
    Fault("C1", counting, "narrow_wide_widths", one_unit_less, "n - 1 units"),
    Fault("C1", exact, "parameter_count", outputs_not_counted),
    c2(scaled_chain(bound=2), "factor 2 in the bound"),
    c2(scaled_chain(whole=0.5, last=0.5), "loss without 1/2"),
    c2(scaled_chain(bound=50), "n forgotten"),
    c2(scaled_chain(last=2), "last layer twice"),
    c2(without_ones, "no column of ones", measured, "last_layer_inputs", compiled=True),
    Fault("C3", curvature, "jacobian_rank", leading, "right end of the spectrum"),
    Fault("C3", curvature, "jacobian_rank", no_tolerance, "rounding counts"),
    Fault("C3", exact, "parameter_count", one_input_less, "an input less"),
    Fault("C3", counting, "minimum_parameters", one_output, "one output"),
    c4(lambda residual: 1e-11 * residual, "residual times 1e-11"),
    c4(lambda residual: np.roll(residual, -1, axis=0), "one net size less"),
    c4(lambda residual: np.roll(residual, 1, axis=0), "one net size more"),
    c4(lambda residual: residual + 1e-9, "an optimiser that stops early"),
    slow_step("C5"),
    c5(descent, "_start", scaled_features(3.0), "features three times as large"),
    c5(descent, "_start", scaled_features(0.2), "features a fifth as large"),
    c5(counting, "narrow_wide_net", narrower, "a last layer of 1.02 n units"),
    c5(descent, "signs", coinciding, "examples that coincide"),
    slow_step("C6"),
    slow_step("C7"),
    Fault("C7", descent, "MLP", wide_last, "a wide last layer", parts=("rank of A",)),
    Fault("C9", descent, "zero_last_start", random_last, "a random last layer"),
    Fault("C9", exact, "_slope", times(-1.0), "sign"),
    Fault("C9", exact, "_slope", times(2.0), "gradient twice"),
    Fault("C9", Supervised, "objective", objective_twice, "the objective twice"),
)
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"


@pytest.mark.slow
@fault_table(
    slow_step("C8", steps=3000),
    Fault("C8", descent, "random_images", repeated, "test cases seen", {"steps": 3000}),
)
def test_faults_of_long_runs(fault, noticed):
    assert noticed(fault) == "not reproduced"


def test_c2_notices_the_largest_singular_value_along_runs(results, word):
    """sigma_1 in the place of sigma_n."""
    runs = results["X2"]
    wrong = runs.assign(constant_bound=0 * runs["sigma"] + 1 / runs["step_size"])
    assert word("C2", X2=wrong) == "not reproduced"
