"""What the reduced dynamics of kinks refuse, in one sentence each."""

from __future__ import annotations

import numpy as np
import pytest

import thalweg as tw
from thalweg.theory.landscape.spectral_bounds import spectral_norms
from thalweg.theory.relu_nets.kink_dynamics import kink_dynamics
from thalweg.theory.relu_nets.one_input import he_net, one_input_data

NAN = float("nan")
DATA = one_input_data([-1.0, 1.0], [0.0, 1.0])
NETS = he_net(np.random.default_rng(0), 4, (3,))
RUN = kink_dynamics(NETS, DATA)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: one_input_data([1.0, 2.0], [0.0, NAN]), "a target is not finite"),
        (lambda: one_input_data([1.0, 2.0], [0.0, 1.0], [np.inf, 1.0]), "give 2 finite numbers"),
        (lambda: kink_dynamics(NETS._replace(w=NAN * NETS.w), DATA), "a number of the net is not"),
        (lambda: kink_dynamics(NETS, DATA, -0.1), "step_size came as -0.1"),
        (lambda: kink_dynamics(NETS, DATA, np.ones(2)), "the leading axes came as"),
        (lambda: he_net(np.random.default_rng(0), 0), "width came as 0"),
        (lambda: RUN.advance(RUN.start, 2.5), "steps came as 2.5"),
        (lambda: RUN.advance(RUN.start, -3), "steps came as -3"),
        (lambda: spectral_norms([[[NAN, 1.0]]]), "a weight is not finite"),
        (lambda: tw.curvature.participation_ratio([[NAN, 1.0], [0.0, 1.0]]), "not finite"),
    ],
)
def test_bad_input_is_one_sentence(call, says):
    with pytest.raises(tw.InputError, match=says):
        call()
