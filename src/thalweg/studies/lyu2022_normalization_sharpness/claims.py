"""What the study of sharpness reduction checks, on the tables of its experiments alone."""

from __future__ import annotations

import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, within
from thalweg.lab.claims import claim

PAPER = "Lyu, Li and Arora (2022)"
DERIVED = f"{PAPER}; derived"
BEGUN, ENDED = 2000, 10_000  # steps of the completion between which it is at the edge


@claim("C1", kind="exact", source=f"{PAPER}, section 2; derived (E1, E2)")
def steps_are_those_of_the_direction(X2_steps: xr.Dataset) -> Check:
    """The direction of the weights does projected descent at the effective learning rate, and that
    rate follows a recursion of its own, at every step.

    Falsified by: a direction off by 1e-14, or 1/rate^2 off by 1e-14 (relative), at any step.
    """
    return all_of(
        below(X2_steps["turned"], 1e-14, what="direction off E1 (step)"),
        below(X2_steps["rated"], 1e-14, what="1/rate^2 off E2 (step)"),
    )


@claim("C2", kind="exact", source=f"{DERIVED} (E7)")
def sharpness_is_the_squared_norm(X2_minima: xr.Dataset) -> Check:
    """At a minimum of batch-normalised regression the spherical sharpness is K ||w_lin||^2, and the
    Hessian has rank n - 2.

    Falsified by: an eigenvalue off by 1e-12 (relative) at a random minimum, or another rank.
    """
    d = X2_minima
    return all_of(
        near(d["sharpness"], d["sharpness_theory"], relative=1e-12, what="sharpness (draw)"),
        near(d["rank"], 18, what="rank of the Hessian (draw)"),
    )


@claim("C3", kind="asymptotic", source=f"{PAPER}, theorem on sharpness reduction (E5)")
def descent_follows_the_flow(X1: xr.Dataset) -> Check:
    """Descent with weight decay follows the sharpness-reduction flow along the circle of minima,
    and not the flow without the squared slope in the denominator.

    Falsified by: an angle 0.02 off the flow, or one always within 0.2 of the plain flow.
    """
    plain = abs(X1["angle"] - X1["angle_plain"]).max("tau")
    return all_of(
        below(X1["apart"], 0.02, what="largest |phi - flow| over all steps (decay)"),
        above(plain, 0.2, what="largest distance to the plain flow (decay)"),
    )


@claim("C3b", kind="asymptotic", source=f"{DERIVED} (E6)")
def oscillation_has_its_size(X1_oscillation: xr.Dataset) -> Check:
    """The mean square of the oscillation is 2/(4 + g^2) in units of eta lambda, and the loss that
    it costs is half of that times the sharpness.

    Falsified by: a window of steps whose mean is off by 1 %.
    """
    d = X1_oscillation
    return all_of(
        near(d["square"], d["square_theory"], relative=0.01, what="mean square (window)"),
        near(d["excess"], d["excess_theory"], relative=0.01, what="mean loss (window)"),
    )


@claim("C4", kind="asymptotic", source=f"{PAPER}, edge of stability")
def product_is_two(X1: xr.Dataset, X2: xr.Dataset) -> Check:
    """At the edge the effective learning rate times the spherical sharpness is 2, averaged over
    consecutive steps. Odd and even steps by themselves are 2 sqrt(2 eta lambda) |d log lambda_1/dv|
    apart at the end, v the top eigenvector: the sharpness oscillates with the weights.

    Falsified by: a product outside [1.9, 2.1] on the circle, a mean off 2 by 0.01 in X2, or odd and
    even steps whose distance is off by 5 %.
    """
    late = X2.isel(tau=slice(X2.sizes["tau"] // 2, None)).mean("tau")
    return all_of(
        above(X1["lowest"], 1.9, what="least product on the circle (decay)"),
        below(X1["highest"], 2.1, what="largest product on the circle (decay)"),
        near(late["edge"].mean("parity"), 2, absolute=0.01, what="mean in X2 (decay, draw)"),
        near(
            X2["apart"].isel(tau=-1),  # it rings for long in some draws
            X2["apart_theory"].isel(tau=-1),
            relative=0.05,
            what="odd against even steps in X2 (decay, draw)",
        ),
    )


@claim("C5", kind="exact", source=f"{DERIVED} (E8)")
def null_part_only_decays(X2: xr.Dataset) -> Check:
    """The part of the weights that the data do not see shrinks as (1 - eta lambda)^k exactly.

    Falsified by: a relative drift of P_null w/(1 - eta lambda)^k above 1e-12.
    """
    return below(X2["null_drift"], 1e-12, what="relative drift (decay, draw, tau)")


@claim("C6", kind="asymptotic", source=f"{DERIVED} (E8)")
def tangent_decays(X2: xr.Dataset) -> Check:
    """The tangent of the angle to the least-norm regressor decays as exp(-tau), as the part of the
    weights that the data see keeps its length.

    Falsified by: a slope off -1 by 0.01, or ||P_row w||^2 off eta K ||w*||^2/2 by 1 %.
    """
    row = X2["row"].isel(tau=slice(X2.sizes["tau"] // 2, None)).mean("tau")
    return all_of(
        near(X2["slope"], -1, absolute=0.01, what="slope of log tan psi (decay, draw)"),
        near(row, X2["row_theory"], relative=0.01, what="||P_row w||^2 (decay, draw)"),
    )


@claim("C7", kind="asymptotic", source=f"{PAPER}, linear regression with batch normalisation (E7)")
def ends_at_the_least_norm(X2: xr.Dataset) -> Check:
    """Descent with weight decay ends at the least-norm regressor, the flattest minimum.

    Falsified by: a distance at tau = 4 outside 0.025 to 0.055 of that at 0.4, or a sharpness 1.5 %
    off its least value.
    """
    first = X2["distance"].sel(tau=0.4, method="nearest")
    last = X2.isel(tau=-1)
    return all_of(
        within(last["distance"] / first, 0.025, 0.055, what="distance, tau 4 / 0.4"),
        near(last["sharpness"], last["least"], relative=0.015, what="K ||w_lin||^2 at the end"),
    )


@claim("C8", kind="asymptotic", source=f"{DERIVED} (E4)")
def edge_is_reached_in_time(X1_edge: xr.Dataset) -> Check:
    """From a large norm the edge is reached after ln(2 (1 - eta lambda) ||w0||^2/(eta lambda_1))
    over -2 ln(1 - eta lambda) steps.

    Falsified by: a first step at the edge two steps off.
    """
    return near(X1_edge["first"], X1_edge["first_theory"], absolute=2, what="step (decay)")


@claim("C9", kind="asymptotic", source=f"{DERIVED} (E6)")
def schedulers_follow_their_flow(X1_scheduler: xr.Dataset) -> Check:
    """The quasi-RMSProp scheduler follows the flow with its own C: -C g/(2 C + g^2).

    Falsified by: an angle 0.02 off the flow of that C at any step.
    """
    return below(X1_scheduler["apart"], 0.02, what="largest |phi - flow| (C)")


@claim("C10", kind="empirical", source=f"{PAPER}, matrix completion")
def completion_improves(X3: xr.Dataset) -> Check:
    """In matrix completion weight decay keeps training at the edge and halves the test error and
    lowers the sharpness by a quarter at least, against no decay.

    Falsified by: a test error above half, or a sharpness above 3/4, of that without decay; or a
    product of rate and sharpness outside [1.9, 2.15] with it.

    Too small: 10^4 steps are needed until the test error has fallen.
    """
    last = X3.isel(step=-1)
    decayed, plain = last.sel(decay="with weight decay"), last.sel(decay="without")
    edge = X3["edge"].sel(decay="with weight decay", step=slice(BEGUN, ENDED))
    return all_of(
        below(decayed["test"] / plain["test"], 0.5, what="test error, with over without (draw)"),
        below(
            (decayed["sharpness"] + decayed["sharpness_error"]) / plain["sharpness"],
            0.75,
            what="sharpness, with over without (draw)",
        ),
        within(edge, 1.9, 2.15, what="rate times sharpness with decay (draw, step)"),
        below(plain["edge"], 1.9, what="the same without, at the end (draw)"),
        below(plain["train"], 1e-20, what="training error without decay (draw)"),
    )
