"""Wrong matrices, maps, bounds and starts that the claims on inconsistency must notice."""

import jax.numpy as jnp
import numpy as np

from planting import Fault, fault_table
from thalweg.models import bias_starts
from thalweg.studies.holzmuller2020_inconsistency import data, full, reduced
from thalweg.theory.relu_nets import affine_floors, kink_certificate, kink_dynamics
from thalweg.theory.relu_nets.kink_dynamics import KinkDynamics
from thalweg.theory.relu_nets.one_input import OneInputData

ALONE = {"offsets": (0.0,), "runs": 1000, "widths": (16, 32, 64, 128)}
RISE = {"offsets": (0.0, 0.1), "runs": 1000, "widths": (64, 256)}
SIXTEEN = {"widths": (16, 64), "runs": 300}
SHARP = {
    "samples": 256, "width": 512, "rates": (4e-3,), "steps": 8192, "laws": ("kink-neg-point",)
}  # fmt: skip


def no_cross_terms(right, self):
    M = right(self)
    return M * np.eye(4)


def intercepts_forgotten(right, self):
    return right(self) * np.array([1.0, 0.0, 1.0, 0.0])


def sides_exchanged(right, self):
    return right(self)[..., [2, 3, 0, 1]]


def mean_removed(right, self):
    return right(self._replace(y=self.y - self.y.mean()))


def maps_transposed(right, self, state):
    maps = state.maps.copy()
    maps[..., 0, 1], maps[..., 2, 0] = state.maps[..., 2, 0], -state.maps[..., 0, 1]
    return right(self, state._replace(maps=maps))


def half(right, *a, **k):
    return 0.5 * right(*a, **k)


def largest_alone(right, net):
    rho, there = right(net)
    return np.stack([rho[..., 1], rho[..., 1]], axis=-1), there


def magnitudes(right, net):
    rho, there = right(net)
    return np.abs(rho), there


def example_left_out(right, inputs, targets, weights=None):
    return right(inputs[1:], targets[1:])


def without_half(right, *a):
    return 2 * right(*a)


def other_targets(right):
    x, y = right()
    return x, np.roll(y, 1)


def asks_little(right, net, examples, step_size):
    found = right(net, examples, step_size)
    reach = np.max(np.abs(net.b / net.a), axis=-1)
    return found._replace(holds=reach < examples.nearest)


def far_too_strict(right, net, examples, step_size):
    found = right(net, examples, step_size)
    return found._replace(holds=found.holds & (found.kappa < 1e-12))


def louder_readout(right, rng, width, nets=()):
    net = right(rng, width, nets)
    return net._replace(w=2 * net.w)


def quieter_inputs(right, rng, width, nets=()):
    net = right(rng, width, nets)
    return net._replace(a=net.a / 2)


def offset_forgotten(right, offset=0.0, counts=None):
    return right(0.0, counts)


def always_zero(right, law, width, x):
    return right("zero", width, x)


def always_pytorch(right, law, width, x):
    return right("pytorch" if law == "zero" else law, width, x)


def kinks_at_zero(right, key, W, x):
    W, b = right(key, W, x)
    return W, 1e-3 * b


def kinks_face_zero(right, key, W, x):
    W, b = right(key, W, x)
    return -W, -b


def ten_times_less(right, *a):
    return right(*a) / 100


def biased_star(right, problem, state):
    loss, on = right(problem, state)
    return loss - 0.01, on


def frozen_pattern(right, problem, state):
    loss, on = right(problem, state)
    return loss, jnp.zeros_like(on)


def louder(right, net):
    first, last = right(net)
    return [first, last | {"weight": 1.5 * last["weight"]}]


def wrong_outputs(right, problem, state):
    loss, params = right(problem, state)
    return loss * 0.999999, params


@fault_table(
    Fault("C1", OneInputData, "targets", sides_exchanged, "sides exchanged"),
    Fault("C1", OneInputData, "moments", no_cross_terms, "no cross terms in M"),
    Fault("C1", OneInputData, "targets", intercepts_forgotten, "no targets of intercepts"),
    Fault("C1", KinkDynamics, "net_at", maps_transposed, "T for its transpose"),
    Fault("C1", reduced, "full_nets", lambda right, n, d, c, h, s: right(n, d, c, 2 * h, s), "2 h"),
    Fault("C2", affine_floors, "affine_per_ray_loss", without_half, "1/2 left out"),
    Fault("C2", affine_floors, "affine_per_ray_loss", example_left_out, "an example left out"),
    Fault("C2", data, "Y", data.Y + 0.1, "an offset", value=True),
    Fault("C3", kink_certificate, "never_crosses", asks_little, "no look ahead", SIXTEEN),
    Fault("C3", reduced, "drawn_runs", lambda right, *a: right(*a).take(slice(20)), "few runs"),
    Fault("C4", affine_floors, "affine_per_ray_loss", without_half, "1/2 left out"),
    Fault("C4", affine_floors, "affine_per_ray_loss", example_left_out, "an example left out"),
    Fault("C4", reduced, "star", other_targets, "targets of another radius"),
    Fault("C5", reduced, "he_net", louder_readout, "w twice as large", ALONE),
    Fault("C5", reduced, "he_net", quieter_inputs, "a half as large", ALONE),
    Fault("C6", reduced, "six_points", offset_forgotten, "offset forgotten", RISE),
    Fault("C6", OneInputData, "targets", mean_removed, "targets centred", RISE),
    Fault("C6", OneInputData, "targets", intercepts_forgotten, "no targets of intercepts", RISE),
    Fault("C7", kink_certificate, "never_crosses", far_too_strict, "a bound too strict"),
    Fault("C8", full, "affine_per_side_loss", half, "half the floor"),
    Fault("C8", full, "with_biases", always_pytorch, "random biases by default"),
    Fault("C8", full, "with_biases", always_zero, "biases stay zero"),
    Fault("C8b", bias_starts.BIAS_LAWS, "kink-neg-point", kinks_at_zero, "near zero", SHARP),
    Fault("C8b", bias_starts.BIAS_LAWS, "kink-neg-point", kinks_face_zero, "inward", SHARP),
    Fault("C9", full, "largest_step_sizes", ten_times_less, "a hundredth of the step"),
    Fault("C9", full, "pattern", biased_star, "loss too low", compiled=True),
    Fault("C9", full, "pattern", frozen_pattern, "pattern never looked at", compiled=True),
    Fault("C10", full, "parameters_of", louder, "w larger"),
    Fault("C10", full, "watched", wrong_outputs, "loss too low by 1e-6", compiled=True),
    Fault("C11", kink_dynamics, "extreme_ratios", largest_alone, "largest rho alone"),
    Fault("C11", kink_dynamics, "extreme_ratios", magnitudes, "|rho| for rho"),
)
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"
