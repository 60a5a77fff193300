"""The event on which no kink passes an example, and how often each of its conditions holds.

Source: Holzmueller and Steinwart (2022), arXiv 2002.04861; conditions as in the authors' code.
"""

from __future__ import annotations

import numpy as np

from thalweg.core.errors import require
from thalweg.theory.relu_nets.one_input import OneInputData, OneInputNet, second_moments

VARIANCE = 2.0  # of a, and of sqrt(n) w


def good_event(
    net: OneInputNet, data: OneInputData, population: OneInputData, samples: int, gamma: float
) -> dict[str, np.ndarray]:
    """For each draw which conditions of the event E(n, N, eps, gamma) hold, eps = 1/4 - gamma/2.

    Its probability is at least 1 - C n^(-gamma), and the condition that costs so much is that no
    |a_i| is below n^(-1-gamma): such a kink is moved past an example by almost any step.

    Args:
        net: The starts, (draws, n).
        data: The examples as drawn, weights (draws, N).
        population: The examples with the weights that they are drawn by.
        samples: N, how many examples were drawn.
        gamma: From 0 to 1/2.

    Returns:
        Name of a condition to whether it holds, (draws,); "all" is the event.

    Raises:
        InputError: If gamma is outside.

    Examples:
        >>> from thalweg.theory.relu_nets.good_event import good_event
        >>> from thalweg.theory.relu_nets.one_input import he_net, one_input_data
        >>> x, y, rng = [-3, -2, -1, 1, 2, 3], [-1, 2, -1, 1, -2, 1], np.random.default_rng(0)
        >>> drawn = one_input_data(x, y, rng.multinomial(64**2, np.ones(6) / 6, size=2000))
        >>> nets = he_net(rng, 64, (2000,))
        >>> held = good_event(nets, drawn, one_input_data(x, y), samples=64**2, gamma=0.25)
        >>> # P(min |a| >= n^(-5/4)) for n normal variables of variance 2
        >>> bool(abs(held["min |a|"].mean() - 0.82) < 0.03)
        True
    """
    require(0 < gamma < 0.5, f"gamma came as {gamma}; give a number between 0 and 1/2")
    n, eps = net.a.shape[-1], 0.25 - gamma / 2
    sigma = second_moments(net)
    aa, ww, wa = sigma[..., 0, 0] / n, sigma[..., 2, 2], np.abs(sigma[..., 2, 0])
    least, most = VARIANCE / 4, VARIANCE
    gap = np.abs(data.best_lines() - population.best_lines())
    values, reference = (np.linalg.eigvalsh(d.moments()) for d in (data, population))
    held = {
        "max |w|": np.max(np.abs(net.w), -1) <= n ** (eps - 0.5),
        "max |a|": np.max(np.abs(net.a), -1) <= n**eps,
        "min |a|": np.min(np.abs(net.a), -1) >= n ** (-1 - gamma),
        "sum a^2": np.all((least <= aa) & (aa <= most), -1),
        "sum w^2": np.all((least <= ww) & (ww <= most), -1),
        "sum w a": np.all(wa <= n**eps, -1),
        "best lines": np.max(gap, -1) <= samples ** ((eps - 1) / 2),
        "moments": (values[..., 0] >= reference[0] / 2) & (values[..., -1] <= 2 * reference[-1]),
    }
    return held | {"all": np.all(np.stack(list(held.values())), axis=0)}
