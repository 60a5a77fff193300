"""What the study of adaptive geometry checks, on the data sets of its experiments alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near
from thalweg.lab.claims import Claim

Results = Mapping[str, xr.Dataset]

DESCENT, ADAM = "SGD with momentum", "Adam"
# R_pred of seeds 0 and 1, and its mean over seeds 0 to 4, for every d.
KNOWN = {16: (6.3697, 17.0094), 64: (8.4867, 7.9111), 128: (17.2426, 18.6001)}
MEANS = {16: 8.7, 64: 10.2, 128: 18.4}
SEEDS = (0, 1, 2, 7)  # of which the specification says by how much Adam is smaller
MORE_THAN_ONE = 1 + 1e-6  # two equal runs have no advantage


def _sizes(data: xr.Dataset) -> list[int]:
    """The sizes that the specification speaks of."""
    return [int(d) for d in data["d"] if int(d) in KNOWN]


def diagonal_in_closed_form(results: Results) -> Check:
    """C1."""
    d = results["X1-hessian"]
    gap = np.abs(d["diagonal"] / d["diagonal_theory"] - 1)
    return below(gap, 1e-12, what="relative gap between E2 and autodiff (draw, entry)")


def descent_keeps_its_start(results: Results) -> Check:
    """C2."""
    d = results["X1"]
    ratio = d["matched_ratio"].sel(optimiser=DESCENT)
    known = d["predicted"].sel(d=_sizes(d), seed=[0, 1])
    values = [KNOWN[size] for size in _sizes(d)]
    return all_of(
        near(ratio / d["predicted"], 1, absolute=1e-3, what="R/R_pred (d, seed, fraction, layer)"),
        near(known, values, absolute=5e-5, what="R_pred (d, seed)"),
    )


def adam_is_uniform(results: Results) -> Check:
    """C3."""
    d = results["X1"]
    ratio = d["matched_ratio"].sel(optimiser=ADAM, d=_sizes(d))
    early, late = ratio.sel(fraction=0.5), ratio.sel(fraction=0.01)
    return all_of(
        below(ratio, 1.05, what="R of Adam (d, seed, fraction, layer)"),
        below(late - early, 0, what="R at 0.01 less R at 0.5 (d, seed, layer)"),
    )


def descent_is_far_from_uniform(results: Results) -> Check:
    """C4."""
    d = results["X1"]
    d = d.sel(d=_sizes(d), seed=range(5))
    mean = d["matched_ratio"].mean("seed")
    descent, adam = mean.sel(optimiser=DESCENT), mean.sel(optimiser=ADAM)
    size = descent.mean(["fraction", "layer"])
    return all_of(
        near(descent / d["predicted_mean"], 1, absolute=1e-3, what="mean R / mean R_pred"),
        near(size, [MEANS[n] for n in _sizes(d)], absolute=0.05, what="mean R over five seeds (d)"),
        above(descent / adam, 4, what="mean R, descent / Adam (d, fraction, layer)"),
    )


def expectation_grows_with_size(results: Results) -> Check:
    """C5."""
    d = results["X1-expectation"]
    mean = d["mean"]
    expected = [11.7, 15.0, 15.9, 17.4, 18.3]
    table = mean.sel(d=[16, 50, 64, 100, 128])
    growth = mean.diff("d") - 3 * d["mean_error"].isel(d=slice(1, None))
    return all_of(
        near(table, expected, relative=0.03, what="E R_pred (d = 16, 50, 64, 100, 128)"),
        above(growth, 0, what="growth of E R_pred with d, less three standard errors"),
    )


def weights_become_rank_one(results: Results) -> Check:
    """C6."""
    share = results["X1"]["second_share"]
    return below(share, 5e-3, what="sigma_2/sigma_1 of W_1 after training (d, optimiser, seed)")


def _advantage(
    results: Results, low: float, high: float
) -> tuple[xr.DataArray, xr.DataArray, Check]:
    """SGD's R_med over Adam's and its geometric mean over layers, at losses in [low, high].

    A comparison at equal loss needs losses that are equal, as the check says.
    """
    data = results["X2"]
    level = data["level"]
    data = data.isel(level=((level >= low) & (level <= high)).values)
    quotient = data["ratio"].sel(optimiser=DESCENT) / data["ratio"].sel(optimiser=ADAM)
    mean = quotient.prod("layer") ** (1 / quotient.sizes["layer"])
    equal = below(data["mismatch"], 0.1, what="gap between matched losses (seed, level)")
    return quotient, mean, equal


def adam_is_smaller_late(results: Results) -> Check:
    """C7."""
    quotient, mean, equal = _advantage(results, 0.0, 0.3)
    four = mean.sel(seed=[int(seed) for seed in mean["seed"] if int(seed) in SEEDS])
    return all_of(
        above(quotient, MORE_THAN_ONE, what="SGD / Adam (seed, level, layer), loss at most 0.3"),
        above(four, 3, what="geometric mean of layers (four seeds, level), loss at most 0.3"),
        equal,
    )


def adam_is_smaller_early(results: Results) -> Check:
    """C8."""
    _, mean, equal = _advantage(results, 1.2, 1.6)
    return all_of(
        above(mean, MORE_THAN_ONE, what="geometric mean of layers (seed, level), loss 1.2 to 1.6"),
        equal,
    )


def hutchinson_is_slow(results: Results) -> Check:
    """C10."""
    error = results["X2-estimators"]["error"]
    told = results["X2-estimators"]["error_told"]
    fall = error.sel(products=10) / error.sel(products=100)
    early = error.sel(products=10)
    return all_of(
        near(fall, np.sqrt(10), relative=0.1, what="error at n = 10 / at n = 100 (layer)"),
        near(told / error, 1, absolute=0.1, what="standard error / error (products, layer)"),
        above(early, 1, what="relative error at n = 10 (layer)"),
    )


PAPER = "Jiang, Malik and Li (2023)"

CLAIMS = (
    Claim(
        "C1",
        "In a two-layer linear net the Hessian's diagonal is W_2[i]^2 Lambda_jj in the first layer "
        "and (W_1 Lambda W_1^T)_ii in the second, whatever the weights and the inputs.",
        "exact",
        f"{PAPER}, two-layer linear net; derived (E2)",
        ("X1-hessian",),
        diagonal_in_closed_form,
    ),
    Claim(
        "C2",
        "From a small start gradient descent with momentum reaches a ratio R_1 = R_2 that the "
        "start alone decides: the largest over the median square of z = W_1 a/|a| + W_2^T.",
        "exact",
        f"{PAPER}, theorem for gradient descent; sharp form derived (E4)",
        ("X1",),
        descent_keeps_its_start,
    ),
    Claim(
        "C3",
        "Adam, from the same starts, makes the diagonal uniform: both ratios lie within 5 % of 1 "
        "and come nearer to 1 as the loss falls.",
        "exact",
        f"{PAPER}, theorem for Adam (E3, E5)",
        ("X1",),
        adam_is_uniform,
    ),
    Claim(
        "C4",
        "At equal loss the ratio of gradient descent is on average more than four times Adam's, "
        "and the mean over five seeds is that of R_pred.",
        "exact",
        f"{PAPER}, theorem; five seeds of E4",
        ("X1",),
        descent_is_far_from_uniform,
    ),
    Claim(
        "C5",
        "Over random starts the mean of R_pred grows with the number of hidden units, to 15.0 at "
        "50 and 17.4 at 100.",
        "exact",
        f"{PAPER}, Omega(log d); mean of E4",
        ("X1-expectation",),
        expectation_grows_with_size,
    ),
    Claim(
        "C6",
        "Both optimisers leave a first layer that is rank one: its second singular value is below "
        "half a percent of its first.",
        "exact",
        f"{PAPER}, mechanism of the proof (E4, E5)",
        ("X1",),
        weights_become_rank_one,
    ),
    Claim(
        "C7",
        "In a network that reads digits, at equal small loss, Adam's ratio is below that of SGD "
        "with momentum in every layer, on four starts by a factor of three or more in the "
        "geometric mean over layers.",
        "empirical",
        f"{PAPER}, tables of R_med",
        ("X2",),
        adam_is_smaller_late,
    ),
    Claim(
        "C8",
        "Early in training the gap is smaller: the geometric mean over layers still favours Adam, "
        "though a single layer can go the other way.",
        "empirical",
        f"{PAPER}, tables of R_med",
        ("X2",),
        adam_is_smaller_early,
    ),
    Claim(
        "C10",
        "Hutchinson's estimate of the diagonal errs as 1/sqrt(n): ten products of the network's "
        "Hessian leave an error larger than the diagonal itself, a hundred a third of that.",
        "exact",
        "Bekas, Kokiopoulou and Saad (2007), variance of the estimator (E7)",
        ("X2-estimators",),
        hutchinson_is_slow,
    ),
)
