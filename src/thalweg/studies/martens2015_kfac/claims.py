"""What the study of K-FAC checks, on the tables of its experiments alone."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, within
from thalweg.lab.claims import Failure, claim

PAPER = "Martens and Grosse (2015)"
KFC = "Grosse and Martens (2016)"
SIZE = "the whole autoencoder and 200 iterations are needed"
ROUNDED = 0.03  # by which another order of the same sums moves h after 200 iterations


@claim("C1", kind="exact", source=f"{PAPER}, section 3 (E2)")
def products_are_exact_for_linear_nets(X1: xr.Dataset) -> Check:
    """In a deep linear net with Gaussian noise every block of the Fisher matrix is the Kronecker
    product of its moments; in a tanh net it is not.

    Falsified by: a linear net off by 1e-12 of the largest entry, or a tanh net whose worst block is
    within 0.1.
    """
    return all_of(
        below(X1["linear"], 1e-12, what="linear net, largest error (draw)"),
        above(X1["tanh"], 0.1, what="tanh net, worst block (draw)"),
    )


@claim("C2", kind="exact", source=f"{PAPER}, section 4.3 (E4 to E6)")
def inverse_is_tridiagonal(X1: xr.Dataset) -> Check:
    """The tridiagonal approximation agrees with the Kronecker one on neighbouring blocks, its
    inverse is zero beyond them, and it is another matrix.

    Falsified by: a neighbouring block off by 1e-9, an inverse of 1e-12 beyond, or a corner block
    that agrees within 1e-3.
    """
    return all_of(
        below(X1["agrees"], 1e-9, what="neighbouring blocks (draw)"),
        below(X1["zero"], 1e-12, what="inverse beyond (draw)"),
        above(X1["corner"], 1e-3, what="block (1,3), relative (draw)"),
    )


@claim("C3", kind="exact", source=f"{PAPER}, appendix B (E7)")
def differences_are_solved(X1: xr.Dataset) -> Check:
    """Differences of two Kronecker products are solved by two eigendecompositions, and those of the
    tridiagonal inverse are positive definite.

    Falsified by: a solution off by 1e-8 (relative), s outside [0, 1), or an eigenvalue below 0.
    """
    return all_of(
        below(X1["solved"], 1e-8, what="off a dense solution (draw)"),
        below(X1["s"], 1 - 1e-12, what="largest s (draw)"),
        above(X1["definite"], 0, what="least eigenvalue of Sigma (draw)"),
    )


@claim("C4", kind="exact", source=f"{PAPER}, section 10")
def updates_are_invariant(X1_invariance: xr.Dataset) -> Check:
    """Undamped updates do not change with linear maps of pre-activations and activations, and are
    gradient steps of the whitened net.

    Falsified by: a block-diagonal update off by 1e-10, a tridiagonal one by 1e-8, a whitened one by
    1e-10, at factors of condition below 1e5.
    """
    d = X1_invariance
    return all_of(
        below(d["condition"], 1e5, what="condition of the factors (draw)"),
        below(d["diagonal"], 1e-10, what="block-diagonal (draw)"),
        below(d["tridiagonal"], 1e-8, what="tridiagonal (draw)"),
        below(d["whitened"], 1e-10, what="whitened net (draw)"),
    )


@claim("C5", kind="exact", source=f"{PAPER}, sections 6.4, 7 (E11)")
def model_is_least(X1: xr.Dataset) -> Check:
    """The exact quadratic form of two directions needs passes forward alone, and the step along
    them is where the model is least.

    Falsified by: a form off the sum over classes by 1e-12, a gradient of M of 1e-10, or a fall off
    half of (alpha g.D + mu g.d0) by 1e-10.
    """
    return all_of(
        below(X1["enumerated"], 1e-12, what="form (draw)"),
        below(X1["flat"], 1e-10, what="gradient (draw)"),
        below(X1["fall"], 1e-10, what="fall (draw)"),
    )


@claim("C6", kind="exact", source=f"{PAPER}, section 6.3 (E9, E10)")
def balance_is_best(X1: xr.Dataset) -> Check:
    """The balance pi of the damping makes least of its bound, and the damped product is that of
    kfac-jax.

    Falsified by: a better pi on a grid of 201, or a product off by 1e-12 (relative).
    """
    return all_of(
        below(X1["pi"], 1e-9, what="log of best pi over pi (draw)"),
        below(X1["forms"], 1e-12, what="the two forms (draw)"),
    )


@claim("C7", kind="exact", source=f"{PAPER}; {KFC}, theorem 1 (E13)")
def single_layers_are_exact(X1: xr.Dataset) -> Check:
    """One undamped step solves one linear layer, and the factors of one convolution give its Fisher
    matrix.

    Falsified by: a weight off least squares by 1e-8, or a convolution off by 1e-12 (relative).
    """
    return all_of(
        below(X1["least_squares"], 1e-8, what="off least squares (draw)"),
        below(X1["convolution"], 1e-12, what="convolution (draw)"),
    )


@claim("C8", kind="empirical", source=f"{PAPER}, section 13", too_small=SIZE)
def kfac_is_ahead(X2: xr.Dataset, X2_baselines: xr.Dataset) -> Check:
    """With the paper's constants K-FAC leaves tuned Nesterov momentum and Adam behind, and momentum
    helps it.

    Falsified by: h after 200 iterations above 0.8 of Nesterov's or 0.9 of Adam's, h after 100 above
    Nesterov's after 200, momentum worth less than a tenth, or another damping at the end than one
    that every look lowered.
    """
    end = X2["h"].sel(step=200, method="nearest")
    early = X2["h"].sel(step=100, method="nearest").sel({"method": "K-FAC"})
    best = X2_baselines["h"].isel(step=-1)
    mine = end.sel({"method": "K-FAC"})
    without = end.sel({"method": "K-FAC without momentum"})
    nesterov, adam = (best.sel({"method": name}) for name in ("Nesterov", "Adam"))
    return all_of(
        below(mine / nesterov, 0.8, what="h over Nesterov's (seed)"),
        below(mine / adam, 0.9, what="h over Adam's (seed)"),
        below(early / nesterov, 1.0, what="h after 100 over Nesterov's (seed)"),
        below(mine / without, 0.9, what="h with momentum over without (seed)"),
        near(
            X2["damping"].sel({"method": "K-FAC"}), 150 * 0.95**200, relative=1e-6,
            what="damping after 200 iterations (seed)",
        ),
    )  # fmt: skip


@claim(
    "C8b",
    kind="empirical",
    source="measured here; kfac-jax with its damping tuned has 16.4, 15.7, 15.4 after 50, 100, 200",
    too_small=SIZE,
    failures=(
        Failure(
            "15.50 or 15.52 on the hardest of three seeds, as sums are ordered, 15.33 on the "
            "easiest: from 50 iterations on the step is limited by what a block-diagonal product "
            "leaves out, not by the damping",
            "h after 200 iterations (seed)",
        ),
    ),
    because="the specification asks for 15.5; on one seed rounding decides between 15.4996 and "
    "15.52, so that 0.03 less is asked",
)
def damping_is_found(X2_own: xr.Dataset) -> Check:
    """K-FAC that finds its own damping needs no tuning: where the paper's constants lead in 200
    iterations it is after 50.

    Falsified by: h above 17 after 50 iterations or, by more than rounding moves it, not below 15.5
    after 200, for any seed.
    """
    h = X2_own["h"]
    return all_of(
        below(h.sel(step=50, method="nearest"), 17.0, what="h after 50 iterations (seed)"),
        below(h.isel(step=-1), 15.5 - ROUNDED, what="h after 200 iterations (seed)"),
        above(h.isel(step=-1), X2_own["floor"], what="h above the entropy of the pixels (seed)"),
    )


@claim("C9", kind="empirical", source=f"{PAPER}, figures 5 and 6")
def inverse_is_near_tridiagonal(X3: xr.Dataset) -> Check:
    """The inverse of the Kronecker approximation is near block-tridiagonal though itself is not.

    Falsified by: an off-diagonal block of the inverse above 0.1 of the diagonal ones, or less than
    5 times smaller than that of the matrix.
    """
    off = ~np.eye(X3.sizes["row"], dtype=bool)
    inverse, matrix = (X3[name].values[:, off] for name in ("inverse", "kronecker"))
    return all_of(
        below(inverse, 0.1, what="blocks of the inverse (seed, block)"),
        above(matrix / inverse, 5, what="matrix over inverse (seed, block)"),
    )


@claim("C10", kind="empirical", source=f"{PAPER}, section 13", too_small=SIZE)
def tridiagonal_is_no_better_here(X2: xr.Dataset) -> Check:
    """At this size the tridiagonal inverse gains nothing over the block-diagonal one.

    Falsified by: h after 200 iterations that differs by 5 %.

    Stated so: The paper's gain of 25 to 40 % an iteration needs its large nets; here it is
    reported.
    """
    end = X2["h"].isel(step=-1)
    ratio = end.sel({"method": "K-FAC, tridiagonal"}) / end.sel({"method": "K-FAC"})
    return within(ratio, 0.95, 1.05, what="h, tridiagonal over diagonal (seed)")


@claim("C11", kind="empirical", source=f"{PAPER}, section 13, figure 10", paper_size_at="full")
def large_net_too(X4: xr.Dataset) -> Check:
    """On the paper's kind of net, 784 pixels to a code and back, K-FAC is below tuned Nesterov
    momentum at equal iterations.

    Falsified by: h of K-FAC at the end above that of the best of four Nesterov rates.
    """
    start, end = X4["h"].isel(step=0), X4["h"].isel(step=-1)
    mine, other = (end.sel({"method": name}) for name in ("K-FAC, own damping", "Nesterov"))
    return all_of(
        below(mine / other, 1.0, what="h, K-FAC over Nesterov at the end"),
        below(other / start.sel({"method": "Nesterov"}), 1.0, what="Nesterov's h, end over start"),
    )
