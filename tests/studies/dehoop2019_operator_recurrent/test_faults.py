"""Planted faults: every claim on boundary control fails when what it rests on is wrong."""

import jax.numpy as jnp
import numpy as np

from planting import Fault, fault_table
from thalweg.problems import WaveGrid, WaveMedia, wave_equation
from thalweg.studies.dehoop2019_operator_recurrent import boundary, identities, learning
from thalweg.theory.inverse_problems import boundary_control as bc
from thalweg.theory.inverse_problems import time_reversal as tr
from thalweg.theory.operator_nets import unrolled_control as unrolled


def other_sign(right, *arguments):
    """Of the datum at the end: +u_x = f."""
    sound, state = right(*arguments)
    return -sound, -state


def one_cell_less(right, steps):
    """|m - N| <= N - 2 - n, and with it the other parity."""
    n, off = np.arange(2 * steps)[:, None], np.arange(2 * steps) - steps
    left = steps - 2 - n
    return 1.0 * ((left >= 0) & (np.abs(off) <= left) & ((off - left) % 2 == 0))


def other_parity(right, steps):
    n, off = np.arange(2 * steps)[:, None], np.arange(2 * steps) - steps
    left = steps - 1 - n
    return 1.0 * ((left >= 0) & (np.abs(off) <= left) & ((off - left) % 2 == 1))


def both_parities(right, steps):
    return (right(steps) + other_parity(right, steps)) / 2


def transposed(right, response):
    return right(response).T


def full_mass_at_the_end(right, zeta, dt):
    chain = right(zeta, dt)
    return WaveGrid(chain.masses.at[..., 0].multiply(2), chain.springs)


def by_one_time(right, response, dt):
    """The response a time step late."""
    return right(np.roll(response, 1, axis=-1), dt)


def plain_differences(right, curve, window=None):
    found = right(curve, window)
    dt = 2 * curve.travel_time[0]
    return found._replace(speed=dt / curve.masses) if window is None else found


def forwards(right, operators, penalty=0.0):
    """The first k times in the place of the last."""
    K, b, dt = operators
    return right(bc.ControlOperators(K[..., ::-1, ::-1], b[::-1], dt), penalty)


def root_of_the_penalty(right, operators, penalty=0.0):
    return right(operators, np.sqrt(penalty))


def mass_by_speed(right, speeds, dt, cells):
    """dx/c in the place of dx/c^2."""
    chain = right(speeds, dt, cells)
    return WaveGrid(jnp.sqrt(chain.masses * chain.springs[0]), chain.springs)


def without_penalty(right, operators, penalty=0.0, reach=None):
    return right(operators, 0.0, reach)


def twice_as_many(right, *arguments):
    """Steps of training time."""
    made = right(*arguments)
    return made._replace(at=lambda t: made.at(2 * np.asarray(t)))


def ten_times(right, media, key, level):
    return right(media, key, 10 * level)


def raw(right, curve, window=None):
    return right(curve)


@fault_table(
    Fault("C1", boundary, "heard", other_sign, "the other sign of the datum", parts=("smallest",)),
    Fault("C1", bc, "time_average", other_parity, "the other parity in S", parts=("waves",)),
    Fault("C1", bc, "time_average", one_cell_less, "an off-by-one in S", parts=("waves",)),
    Fault("C1", bc, "time_average", both_parities, "S without a chequerboard", parts=("waves",)),
    Fault("C1", boundary, "causal_toeplitz", transposed, "a map that is not causal"),
    Fault(
        "C2", boundary, "travel_time_grid", full_mass_at_the_end, "a full mass at the end",
        parts=("slowness",),
    ),
    Fault("C2", bc, "time_average", other_parity, "the other parity in S", parts=("volumes",)),
    Fault("C2", boundary, "heard", other_sign, "the other sign of the datum", parts=("volumes",)),
    Fault("C2", bc, "volume_curve", forwards, "the first times for the last", parts=("volumes",)),
    Fault("C2", bc, "control_operators", by_one_time, "a step late", parts=("volumes",)),
    Fault("C2", bc, "wave_speed", plain_differences, "plain differences", parts=("slowness",)),
    Fault("C9", bc, "volume_curve", root_of_the_penalty, "root of the penalty", parts=("slope",)),
    Fault(
        "C9", wave_equation, "_physical_grid", mass_by_speed, "masses dx/c", parts=("ratio",),
        compiled=True,
    ),
    Fault("C10", tr, "restricted_system", without_penalty, "no penalty in the iteration"),
    Fault("C10", tr, "landweber_distance", twice_as_many, "twice the step", parts=("distance |",)),
    Fault("C10", tr, "landweber_bound", twice_as_many, "2m in the bound", parts=("distance (",)),
    Fault("C11", bc, "wave_speed", raw, "no smoothing", parts=("smoothed",)),
    Fault("C11", WaveMedia, "noisy", ten_times, "ten times the noise", parts=("volume",)),
)  # fmt: skip
def test_a_planted_fault_is_noticed(fault, noticed):
    assert noticed(fault) == "not reproduced"


FEW = {"training": (200,), "passes": (300,), "tests": 200, "steps": 20, "layers": 5}
NOISY = {
    "strengths": (0.0, 1e-4), "seeds": 2, "passes": 1000, "layers": 4, "rank": 20, "steps": 20,
    "tests": 200,
}  # fmt: skip
TOY = {"examples": 6000, "passes": 60}
START = {"layers": 8, "training": 300, "passes": 60, "steps": 20}


CAREFUL = dict.fromkeys(learning.READERS, learning.READERS["mlp"])
EXCHANGED = learning.READERS | {"mlp": learning.READERS["specified"]}


def one_layer_less(right, steps, time_step, layers, *arguments, **options):
    return right(steps, time_step, layers - 1, *arguments, **options)


def one_reach_more(right, steps, time_step, layers, bound, penalty, reach, **options):
    return right(steps, time_step, layers, bound, penalty, max(reach - 1, 1), **options)


def with_its_branch(right, *arguments, **options):
    return right(*arguments, **{**options, "activation": "relu"})


def one_layer_more(right, layers, *arguments, **options):
    return right(layers + 1, *arguments, **options)


def unbalanced(right, *arguments):
    pair = right(*arguments)
    return pair._replace(left=2 * pair.left, right=pair.right / 2)


def without_a_half(right, params, exponent=0.5):
    return right(params, exponent) * (2 if exponent == 1 else 1)


def the_layer_before(right, *arguments):
    """H_(l-1) in the place of H_l."""
    bounds = right(*arguments)
    norms = bounds.norms
    return bounds._replace(norms=jnp.concatenate([norms[:1], norms[:-1]]))


def of_small_operators(right, model, params, norm, other):
    return right(model, params, 0.0, other)


def a_thousandth_of_the_rate(right, rate, steps, batch):
    return right(rate / 1000, steps, batch)


def layers_left_out(right, layers, *arguments, **options):
    """A net that never applies the map to what depends on it."""
    return right(1, *arguments, **options)


def hardly_penalised(right, problem, penalty, strength, **options):
    return right(problem, penalty, strength / 100, **options)


@fault_table(
    Fault("C3", unrolled, "time_average", both_parities, "S without a chequerboard"),
    Fault("C3", identities, "unrolled_control", one_layer_less, "a layer left out"),
    Fault("C3", identities, "unrolled_control", one_reach_more, "a time less of reach"),
    Fault("C4", identities, "OperatorRecurrent", with_its_branch, "a branch under phi"),
    Fault("C4", identities, "OperatorRecurrent", one_layer_more, "a layer more"),
    Fault("C5", identities, "balanced_pair", unbalanced, "factors out of balance"),
    Fault("C5", identities, "factor_regulariser", without_a_half, "no half in R_1"),
    Fault("C6", identities, "layer_bounds", the_layer_before, "a layer late"),
    Fault("C6", identities, "layer_bounds", of_small_operators, "M is left out"),
    Fault("C7", learning, "READERS", CAREFUL, "a better MLP", FEW, value=True),
    Fault("C7", learning, "OperatorRecurrent", layers_left_out, "one layer", FEW),
    Fault("C7b", learning, "annealed_adam", a_thousandth_of_the_rate, "no training", FEW),
    Fault("C7b", learning, "OperatorRecurrent", layers_left_out, "one layer", FEW),
    Fault(
        "C7d", learning, "READERS", CAREFUL, "one start and one scaling", FEW, value=True,
        parts=("rounding", "Glorot", "both", "variance at Glorot"),
    ),
    Fault(
        "C7d", learning, "READERS", EXCHANGED, "starts exchanged", FEW, value=True,
        parts=("variance at the smaller",),
    ),
    Fault("C8", learning, "penalised", hardly_penalised, "a hundredth of the penalty", NOISY),
    Fault(
        "C12", learning, "annealed_adam", a_thousandth_of_the_rate, "no training", TOY,
        parts=("10 layers",),
    ),
    Fault("C13", learning, "annealed_adam", a_thousandth_of_the_rate, "no training", START),
)  # fmt: skip
def test_a_fault_in_learning_is_noticed(fault, noticed):
    assert noticed(fault) == "not reproduced"
