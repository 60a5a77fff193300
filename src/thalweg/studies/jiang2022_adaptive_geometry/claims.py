"""What the study of adaptive geometry checks, on the tables of its experiments alone."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near
from thalweg.lab.claims import claim

DESCENT, ADAM = "SGD with momentum", "Adam"
# R_pred of seeds 0 and 1, and its mean over seeds 0 to 4, for every d.
KNOWN = {16: (6.3697, 17.0094), 64: (8.4867, 7.9111), 128: (17.2426, 18.6001)}
MEANS = {16: 8.7, 64: 10.2, 128: 18.4}
SEEDS = (0, 1, 2, 7)  # of which the specification says by how much Adam is smaller
MORE_THAN_ONE = 1 + 1e-6  # two equal runs have no advantage
PAPER = "Jiang, Malik and Li (2023)"


def _sizes(data: xr.Dataset) -> list[int]:
    """The sizes that the specification speaks of."""
    return [int(d) for d in data["d"] if int(d) in KNOWN]


@claim("C1", kind="exact", source=f"{PAPER}, two-layer linear net; derived (E2)")
def diagonal_in_closed_form(X1_hessian: xr.Dataset) -> Check:
    """In a two-layer linear net the Hessian's diagonal is W_2[i]^2 Lambda_jj in the first layer and
    (W_1 Lambda W_1^T)_ii in the second, whatever the weights and the inputs.

    Falsified by: one diagonal entry off the formula by 1e-12 (relative).
    """
    gap = np.abs(X1_hessian["diagonal"] / X1_hessian["diagonal_theory"] - 1)
    return below(gap, 1e-12, what="relative gap between E2 and autodiff (draw, entry)")


@claim(
    "C2",
    kind="asymptotic",
    source=f"{PAPER}, theorem for gradient descent; sharp form derived (E4)",
    paper_size_at="quick",
)
def descent_keeps_its_start(X1: xr.Dataset) -> Check:
    """From a small start gradient descent with momentum reaches a ratio R_1 = R_2 that the start
    alone decides: the largest over the median square of z = W_1 a/|a| + W_2^T.

    Falsified by: a ratio off R_pred by 1e-3 (relative) at half or at 1 % of the first loss.
    """
    ratio = X1["matched_ratio"].sel(optimiser=DESCENT)
    known = X1["predicted"].sel(d=_sizes(X1), seed=[0, 1])
    values = [KNOWN[size] for size in _sizes(X1)]
    return all_of(
        near(ratio / X1["predicted"], 1, absolute=1e-3, what="R/R_pred (d, seed, fraction, layer)"),
        near(known, values, absolute=5e-5, what="R_pred (d, seed)"),
    )


@claim("C3", kind="asymptotic", source=f"{PAPER}, theorem for Adam (E3, E5)", paper_size_at="quick")
def adam_is_uniform(X1: xr.Dataset) -> Check:
    """Adam, from the same starts, makes the diagonal uniform: both ratios lie within 5 % of 1 and
    come nearer to 1 as the loss falls.

    Falsified by: a ratio above 1.05 at half of the first loss, or one that grows after it.
    """
    ratio = X1["matched_ratio"].sel(optimiser=ADAM, d=_sizes(X1))
    early, late = ratio.sel(fraction=0.5), ratio.sel(fraction=0.01)
    return all_of(
        below(ratio, 1.05, what="R of Adam (d, seed, fraction, layer)"),
        below(late - early, 0, what="R at 0.01 less R at 0.5 (d, seed, layer)"),
    )


@claim("C4", kind="asymptotic", source=f"{PAPER}, theorem; five seeds of E4", paper_size_at="quick")
def descent_is_far_from_uniform(X1: xr.Dataset) -> Check:
    """At equal loss the ratio of gradient descent is on average more than four times Adam's, and
    the mean over five seeds is that of R_pred.

    Falsified by: a mean ratio below four times Adam's, or off that of R_pred by 1e-3 (relative).
    """
    d = X1.sel(d=_sizes(X1), seed=range(5))
    mean = d["matched_ratio"].mean("seed")
    descent, adam = mean.sel(optimiser=DESCENT), mean.sel(optimiser=ADAM)
    size = descent.mean(["fraction", "layer"])
    return all_of(
        near(descent / d["predicted_mean"], 1, absolute=1e-3, what="mean R / mean R_pred"),
        near(size, [MEANS[n] for n in _sizes(d)], absolute=0.05, what="mean R over five seeds (d)"),
        above(descent / adam, 4, what="mean R, descent / Adam (d, fraction, layer)"),
    )


@claim("C5", kind="statistical", source=f"{PAPER}, Omega(log d); mean of E4")
def expectation_grows_with_size(X1_expectation: xr.Dataset) -> Check:
    """Over random starts the mean of R_pred grows with the number of hidden units, to 15.0 at 50
    and 17.4 at 100.

    Falsified by: a mean off the values given by 3 %, or one that does not grow by three errors.
    """
    mean, error = X1_expectation["mean"], X1_expectation["mean_error"]
    listed = mean.sel(d=[16, 50, 64, 100, 128])
    growth = mean.diff("d") - 3 * error.isel(d=slice(1, None))
    expected, what = [11.7, 15.0, 15.9, 17.4, 18.3], "E R_pred (d = 16, 50, 64, 100, 128)"
    return all_of(
        near(listed, expected, relative=0.03, what=what),
        above(growth, 0, what="growth of E R_pred with d, less three standard errors"),
    )


@claim(
    "C6",
    kind="asymptotic",
    source=f"{PAPER}, mechanism of the proof (E4, E5)",
    paper_size_at="quick",
)
def weights_become_rank_one(X1: xr.Dataset) -> Check:
    """Both optimisers leave a first layer that is rank one: its second singular value is below half
    a percent of its first.

    Falsified by: a second singular value of W_1 above 5e-3 of the first after training.
    """
    what = "sigma_2/sigma_1 of W_1 after training (d, optimiser, seed)"
    return below(X1["second_share"], 5e-3, what=what)


def _advantage(X2: xr.Dataset, low: float, high: float) -> tuple[xr.DataArray, xr.DataArray, Check]:
    """SGD's R_med over Adam's and its geometric mean over layers, at losses in [low, high].

    A comparison at equal loss needs losses that are equal, as the check says.
    """
    level = X2["level"]
    data = X2.isel(level=((level >= low) & (level <= high)).values)
    quotient = data["ratio"].sel(optimiser=DESCENT) / data["ratio"].sel(optimiser=ADAM)
    mean = quotient.prod("layer", skipna=False) ** (1 / quotient.sizes["layer"])
    equal = below(data["mismatch"], 0.1, what="gap between matched losses (seed, level)")
    return quotient, mean, equal


@claim("C7", kind="empirical", source=f"{PAPER}, tables of R_med", paper_size_at="none")
def adam_is_smaller_late(X2: xr.Dataset) -> Check:
    """In a network that reads digits, at equal small loss, Adam's ratio is below that of SGD with
    momentum in every layer, on four starts by a factor of three or more in the geometric mean over
    layers.

    Falsified by: a layer whose ratio is not below SGD's, or a mean below 3, at a loss up to 0.3.
    """
    quotient, mean, equal = _advantage(X2, 0.0, 0.3)
    four = mean.sel(seed=[int(seed) for seed in mean["seed"] if int(seed) in SEEDS])
    return all_of(
        above(quotient, MORE_THAN_ONE, what="SGD / Adam (seed, level, layer), loss at most 0.3"),
        above(four, 3, what="geometric mean of layers (four seeds, level), loss at most 0.3"),
        equal,
    )


@claim("C8", kind="empirical", source=f"{PAPER}, tables of R_med", paper_size_at="none")
def adam_is_smaller_early(X2: xr.Dataset) -> Check:
    """Early in training the gap is smaller: the geometric mean over layers still favours Adam,
    though a single layer can go the other way.

    Falsified by: a geometric mean over layers that is not above 1 at a loss of 1.2 to 1.6.
    """
    _, mean, equal = _advantage(X2, 1.2, 1.6)
    what = "geometric mean of layers (seed, level), loss 1.2 to 1.6"
    return all_of(above(mean, MORE_THAN_ONE, what=what), equal)


@claim(
    "C10",
    kind="statistical",
    source="Bekas, Kokiopoulou and Saad (2007), variance of the estimator (E7)",
)
def hutchinson_is_slow(X2_estimators: xr.Dataset) -> Check:
    """Hutchinson's estimate of the diagonal errs as 1/sqrt(n): ten products of the network's
    Hessian leave an error larger than the diagonal itself, a hundred a third of that.

    Falsified by: an error that falls from 10 to 100 products by other than sqrt(10), 10 % apart.
    """
    error, told = X2_estimators["error"], X2_estimators["error_told"]
    early = error.sel(products=10)
    fall = early / error.sel(products=100)
    return all_of(
        near(fall, np.sqrt(10), relative=0.1, what="error at n = 10 / at n = 100 (layer)"),
        near(told / error, 1, absolute=0.1, what="standard error / error (products, layer)"),
        above(early, 1, what="relative error at n = 10 (layer)"),
    )
