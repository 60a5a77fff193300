"""The claims of the study of the expressivity condition."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, in_more_than, near, true, within
from thalweg.lab.claims import Claim, Failure

Results = Mapping[str, xr.Dataset]

RANKS = {"1-221": (14, 30), "2-221": (47, 168), "16-16-221": (185, 200)}  # the specification's


def phase_two_follows_its_certificates(results: Results) -> Check:
    """C1."""
    d, every = results["X3"], results["X3-steps"]
    return all_of(
        below(d["residual_gap"], 1e-9, what="|residual - closed form| (labels, seed, step)"),
        below(every["loss"] / every["loss_bound"], 1, what="loss/bound (labels, step)"),
        below(d["loss"] / d["loss_bound"], 1, what="loss/bound (labels, seed, step)"),
    )


def full_rank_fits_any_labels(results: Results) -> Check:
    """C2."""
    d = results["X3"]
    return all_of(
        near(d["rank"], 200, what="rank (labels, seed)"),
        below(d["least_loss"], 1e-20, what="least-squares loss (labels, seed)"),
    )


def lost_rank_sets_a_floor(results: Results) -> Check:
    """C3."""
    d = results["X3-floors"]
    return all_of(
        near(d["floor"], d["floor_solved"], absolute=1e-10, what="floor (width, seed)"),
        near(d["floor"], d["floor_theory"], absolute=0.03, what="floor (width, seed)"),
        above(d["narrow_loss"], d["narrow_floor"], what="loss after phase 2, 20 units"),
    )


def only_the_last_layer_moves(results: Results) -> Check:
    """C4."""
    d = results["X3"]
    gaps = d["midpoint_gap"]
    return all_of(
        near(d["hidden_change"], 0, what="change of hidden parameters (labels, seed, step)"),
        above(d["last_change"], 1e-3, what="change of the last layer (labels, seed)"),
        above(gaps, 0, what="convexity at midpoints (labels, seed, pair)"),
        near(gaps, d["midpoint_theory"], relative=1e-9, what="convexity (labels, seed, pair)"),
    )


def a_perturbation_finds_full_rank(results: Results) -> Check:
    """C5."""
    d = results["X1-degenerate"]
    wide, deep = d.sel(net="64-221"), d.sel(net="16-16-221")
    return all_of(
        near(d["rank_at_zero"], 1, what="rank at zero (net)"),
        near(wide["rank"], 200, what="64-221: rank (noise, seed)"),
        near(deep["rank"].sel(noise=1e-3), 17, what="16-16-221, noise 1e-3: rank (seed)"),
        below(deep["rank"].sel(noise=1e-2), 199, what="16-16-221, noise 1e-2: rank (seed)"),
        in_more_than(
            0.5,
            (deep["rank"] >= 152).sel(noise=1e-2) & (deep["rank"] <= 182).sel(noise=1e-2),
            what="16-16-221, noise 1e-2: rank from 152 to 182",
        ),
        near(deep["rank"].sel(noise=1e-1), 200, what="16-16-221, noise 1e-1: rank (seed)"),
    )


def one_unit_is_wide_enough(results: Results) -> Check:
    """C6."""
    d = results["X1-witness"]
    middle = d["margin"].sel(scale=1e5)
    return all_of(
        near(d["rank"], 200, what="rank (draw, scale)"),
        above(d["margin"], 100 * d["margin_error"], what="margin (draw, scale)"),
        near(d["margin"] / middle, 1, absolute=0.01, what="margin/that at 1e5 (draw, scale)"),
    )


def wide_layers_have_full_rank(results: Results) -> Check:
    """C7."""
    d, found = results["X1"], results["X1-resnets"]
    rank, margin = d["rank"], d["margin"]
    full = ["221", "64-221"]
    wide = found.isel(case=-1)
    return all_of(
        near(rank.sel(net=full), 200, what="wide nets: rank (net, seed)"),
        *(
            in_more_than(0.5, margin.sel(net=net) >= 1e-9, what=f"{net}: margin from 1e-9")
            for net in full
        ),
        near(wide["rank"], wide["examples"], what="residual net on images: rank"),
        below(rank.sel(net=["2-221", "1-221"]), 199, what="narrow nets: rank (net, seed)"),
        near(d["search_rank"], 200, what="rank after a search (net)"),
        near(d["search_witness"], [0, 0, 0, 1, 1], what="witness needed (net)"),
        *(
            in_more_than(
                0.5,
                (low <= rank.sel(net=net)) & (rank.sel(net=net) <= high),
                what=f"{net}: rank from {low} to {high}",
            )
            for net, (low, high) in RANKS.items()
        ),
    )


def two_phases_cost_no_accuracy(results: Results) -> Check:
    """C8."""
    d = results["X2"]
    end = d["accuracy"].isel(step=-1)
    loss = d["loss"].sel(optimiser="EXP-SGD")
    late = loss.where(loss["step"] >= d["phase_two"], drop=True)
    fall = 1 - late.isel(step=-1) / late.isel(step=0)
    quarters = np.array_split(late.values, 4, axis=1)
    means = np.stack([part.mean(axis=1) for part in quarters])
    return all_of(
        near(
            end.sel(optimiser="EXP-SGD"),
            end.sel(optimiser="SGD"),
            absolute=0.01,
            what="test accuracy (seed)",
        ),
        within(fall, 0.2, 0.25, what="fall of the training loss in phase 2 (seed)"),
        true(
            bool((np.diff(means, axis=0) < 0).all()),
            "means over quarters of phase 2 fall",
            "fall",
            what="training loss in phase 2",
        ),
        near(d["rank"], 200, what="rank after phase 1 and noise (seed)"),
        above(d["margin"], d["margin_error"], what="its margin (seed)"),
    )


def the_constant_is_the_sharpness(results: Results) -> Check:
    """C9."""
    d = results["X3-smoothness"]
    measured, theory = d["eigenvalue"], d["eigenvalue_theory"]
    share = measured / theory
    return all_of(
        near(share.sel(loss="squared-error"), 1, absolute=1e-12, what="squared error (seed)"),
        below(share.sel(loss="cross-entropy"), 1, what="cross-entropy (seed)"),
        within(d["softmax"], 0.49, 0.5, what="Hessian of the softmax, largest over logits"),
    )


def momentum_does_not_leak(results: Results) -> Check:
    """C10."""
    d, leak = results["X2"], results["X2-leak"]
    return all_of(
        near(d["hidden_change"], 0, what="change of hidden parameters (seed)"),
        above(d["last_change"], 1e-3, what="change of the last layer (seed)"),
        near(leak["drift"], leak["drift_theory"], relative=1e-6, what="drift without mask (seed)"),
        above(leak["drift"], 1e-3, what="drift without mask (seed)"),
    )


PAPER = "Kawaguchi and Sun (2021)"

CLAIMS = (
    Claim(
        "C1",
        "Descent on the last layer with step size 1/L_H follows (I - A A^T/sigma_max^2)^k from "
        "step to step, and its loss stays below L_H R^2/(2 k).",
        "exact",
        f"{PAPER}, theorem on the rate (E6); E8 is our derivation",
        ("X3", "X3-steps"),
        phase_two_follows_its_certificates,
    ),
    Claim(
        "C2",
        "Where the features have rank n the last layer alone fits any labels, true or random, "
        "to rounding.",
        "exact",
        f"{PAPER}, theorem on global optimality (E5)",
        ("X3",),
        full_rank_fits_any_labels,
    ),
    Claim(
        "C3",
        "Where the rank r is below n phase 2 cannot come below the part of the labels outside the "
        "range of A, on average 0.45 (1 - r/n) for random labels of ten classes.",
        "exact",
        "our derivation (E9)",
        ("X3-floors",),
        lost_rank_sets_a_floor,
    ),
    Claim(
        "C4",
        "Phase 2 leaves every hidden parameter as it is, to the bit, and is convex.",
        "exact",
        f"{PAPER}, phase 2 of the algorithm",
        ("X3",),
        only_the_last_layer_moves,
    ),
    Claim(
        "C5",
        "From parameters that are all zero, of rank 1, a random perturbation gives rank n; in "
        "float64 a deeper narrow net needs a larger one than theory, for which any size will do.",
        "empirical",
        f"{PAPER}, almost sure rank after a perturbation (E3)",
        ("X1-degenerate",),
        a_perturbation_finds_full_rank,
        because=(
            "the specification has ranks of 152 to 182 at a noise of 1e-2, as four draws gave "
            "them; three of 20 draws have 183 to 196"
        ),
    ),
    Claim(
        "C6",
        "Two narrow layers of a single unit are enough: parameters of rank n can be written down.",
        "exact",
        f"{PAPER}, fully connected nets with one wide layer; the construction is ours",
        ("X1-witness",),
        one_unit_is_wide_enough,
    ),
    Claim(
        "C7",
        "At a random start a wide last hidden layer above another of 64 units, or above a "
        "residual net, has rank n; above 16 and 16 units the rank is at least 185 of 200 in more "
        "than half of all draws, above two units or one it never is 200, where only a constructed "
        "witness shows the condition.",
        "empirical",
        f"{PAPER}, numerical verification; numbers for the digits from our own specification",
        ("X1", "X1-resnets"),
        wide_layers_have_full_rank,
        because=(
            "the specification asks for its ranks and margins in every draw; of 60 draws above 16 "
            "and 16 units 17 have a rank below 185, down to 145, as few live units merge inputs, "
            "and narrow nets leave its bounds in 9 and 12"
        ),
    ),
    Claim(
        "C8",
        "In two phases SGD keeps its test accuracy to 1 %, and its training loss keeps falling, "
        "by 20 to 25 % in phase 2.",
        "empirical",
        f"{PAPER}, experiments; sizes and numbers from our own specification",
        ("X2",),
        two_phases_cost_no_accuracy,
        failures=(
            Failure(
                "one of ten seeds falls by 19.9 %; the bounds are what three seeds gave",
                "fall of the training loss in phase 2 (seed)",
                ("full",),
            ),
        ),
    ),
    Claim(
        "C9",
        "L_H is the largest Hessian eigenvalue of phase 2 for the squared error, and never below "
        "it for the cross-entropy.",
        "exact",
        f"{PAPER}, assumption on the loss; E4 is our derivation",
        ("X3-smoothness",),
        the_constant_is_the_sharpness,
    ),
    Claim(
        "C10",
        "Momentum that is left over from phase 1 moves hidden layers unless updates are masked, "
        "not only gradients; the wrapper masks updates.",
        "exact",
        f"{PAPER}, the algorithm: step size zero for every other layer",
        ("X2", "X2-leak"),
        momentum_does_not_leak,
    ),
)
