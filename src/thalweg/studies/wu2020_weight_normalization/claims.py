"""What the study of weight normalisation checks, on the tables of its experiments alone."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, true, within
from thalweg.lab.claims import claim

STARTS = [0.1, 1.0, 2.0, 4.0]
KNOWN_DRAWS = [0, 1, 2, 3]  # of X2, those that the specification gives ranges for
SWEEP = [0.1, 0.5, 1.0, 2.0, 4.0]
PAPER = "Wu et al. (2020)"


@claim("C1", kind="exact", source=f"{PAPER}, invariant of the flow; derived (E6)")
def invariant_stays(X1: xr.Dataset, X1_draws: xr.Dataset) -> Check:
    """Along the flow the part of the direction that the data do not see shrinks exactly as
    exp(-g^2/(2c)) when the scale g grows.

    Falsified by: a relative drift of w_perp exp(g^2/(2c)) above 1e-8 at c = 1 or 4.
    """
    drift = X1["drift"]
    return all_of(
        below(drift.sel(c=1.0), 1e-8, what="drift at c = 1 (g0, time)"),
        below(drift.sel(c=4.0), 1e-8, what="drift at c = 4 (g0, time)"),
        below(X1_draws["drift"], 1e-8, what="drift at c = 1 (draw, g0, time)"),
    )


@claim("C2", kind="exact", source=f"{PAPER}; derived (E7)")
def scale_ends_at_the_root(X1: xr.Dataset, X1_draws: xr.Dataset) -> Check:
    """The scale ends at a value that the start alone decides, the root of one equation; a negative
    start gives the negative scale.

    Falsified by: an end g^2 more than 1e-10 (relative) from the root, or a scale of other sign.
    """
    squared = X1["g"].isel(time=-1) ** 2
    others = X1_draws["g"].isel(time=-1) ** 2
    found, mirrored = squared.sel(c=1.0, g0=STARTS), squared.sel(c=1.0, g0=-1.0)
    return all_of(
        near(squared, X1["limit"], relative=1e-10, what="g^2 at the end (g0, c)"),
        near(others, X1_draws["limit"], relative=1e-10, what="(draw, g0): g^2"),
        near(found, [9.733360, 9.733881, 9.749488, 16.275411], absolute=5e-7, what="g^2 (g0)"),
        near(mirrored, squared.sel(c=1.0, g0=1.0), relative=1e-10, what="g^2 from g0 = -1"),
        below(X1["g"].sel(g0=-1.0), 0, what="g from g0 = -1 (c, time)"),
    )


@claim("C3", kind="exact", source=f"{PAPER}; derived (E7)")
def orthogonal_part_shrinks(X1: xr.Dataset) -> Check:
    """From |g0| = 0.1 to 4 weight normalisation ends nearer to the least-norm solution than plain
    descent from the same point: 0.018 to 2.6 against 0.073 to 2.9.

    Falsified by: an end off E7 by 1e-6 (relative), or off the digits quoted.
    """
    d = X1.sel(c=1.0, g0=STARTS)
    part, plain = d["perp"].isel(time=-1), d["descent_distance"]
    half_digits = [5e-6, 5e-6, 5e-6, 5e-5]
    gap = np.abs(part.values - [0.01756, 0.02881, 0.12821, 2.5578]) - half_digits
    return all_of(
        below(gap, 0, what="||x_perp|| at the end, less its rounding (g0)"),
        near(plain, [0.0728, 0.7276, 1.4552, 2.9105], absolute=5e-5, what="plain descent (g0)"),
        near(part, d["limit_distance"], relative=1e-6, what="||x_perp|| by E7 (g0)"),
    )


@claim("C4", kind="exact", source=f"{PAPER}, condition and rate of convergence; derived (E8, E9)")
def bounds_hold(X1: xr.Dataset, X1_draws: xr.Dataset) -> Check:
    """g^2 never falls below g0^2 + c ln ||w0_perp||^2, and the loss falls at least at the linear
    rate 2 lambda_min min(c, g^2).

    Falsified by: one time at which g^2 lies below its bound, or the loss above its bound.
    """
    checks = []
    for name, d in (("X1", X1), ("X1-draws", X1_draws)):
        loss = d["loss"]
        later = (loss > 1e-20 * loss.isel(time=0)) & (d["time"] > 0)
        excess = np.log(loss.values / d["loss_bound"].values)[later.values]
        checks += [
            above(d["g"] ** 2 - d["floor"], 0, what=f"{name}: g^2 less its bound"),
            below(excess, 0, what=f"{name}: ln(loss / bound)"),
        ]
    return all_of(*checks)


@claim("C5", kind="exact", source=f"{PAPER}, phase I; derived (E10)")
def phase_one_in_closed_form(X3: xr.Dataset) -> Check:
    """With orthonormal rows, a held scale and step 1/g0^2, ||w_perp||^-2 follows its closed form:
    to zero for g0 < g*, to sqrt(1 - (g*/g0)^2) for g0 > g*.

    Falsified by: ||w_perp||^-2 off its closed form by 1e-9 (relative) while above 1e-6.
    """
    perp = X3["perp"].values
    gap = np.abs((X3["perp_theory"].values / perp) ** 2 - 1)
    last = X3["perp"].sel(relative_scale=1.5).isel(step=-1)
    return all_of(
        below(gap[perp > 1e-6], 1e-9, what="relative error of ||w_perp||^-2 above 1e-6"),
        below(gap[perp > 1e-10], 1e-5, what="the same above 1e-10"),
        near(last, 0.745356, absolute=1e-6, what="||w_perp|| at the end, g0 = 1.5 g* (draw)"),
    )


@claim("C6", kind="exact", source=f"{PAPER}, phase II (E11)")
def phase_two_contracts(X3: xr.Dataset) -> Check:
    """In phase II the scale approaches ||x*|| by the factor 1 - gamma = 0.8 a step, and both phases
    together end at the least-norm solution.

    Falsified by: a factor other than 0.8 by 1e-6, or an end 1e-11 away from the solution.
    """
    gap = X3["gap"].values
    before, after = gap[:, :-1], gap[:, 1:]
    large = np.abs(after) > 1e-8 * X3["norm"].values[:, None]
    return all_of(
        near(after[large] / before[large], 0.8, absolute=1e-6, what="(g - g*)' / (g - g*)"),
        below(X3["final"], 1e-11, what="||x - x*|| after both phases (draw)"),
    )


@claim("C7", kind="exact", source=f"{PAPER}, two-phase algorithm (E12)")
def two_phases_are_exact(X2: xr.Dataset) -> Check:
    """Two-phase rPGD ends at the least-norm solution whatever the initial scale, if phase I holds a
    scale below g*, and misses it above; plain descent misses it by |g0| ||w0_perp||.

    Falsified by: two phases that end 1e-10 away, or within 1e-3 where phase I held more than g*.
    """
    held, g0 = X2["held_large"], X2["g0"].values
    large = g0 > X2["norm"].values[:, None]
    known = held.sel(draw=KNOWN_DRAWS)
    plain = g0 * X2["perp"].values[:, None]
    return all_of(
        below(X2["two_phase"], 1e-10, what="||x - x*||, two-phase rPGD (draw, g0)"),
        above(held.values[large], 1e-3, what="||x - x*||, phase I at a scale above g*"),
        within(known.sel(g0=2.0), 0.65, 1.35, what="phase I at 2 (draws 0 to 3)"),
        within(known.sel(g0=4.0), 3.45, 3.75, what="phase I at 4 (draws 0 to 3)"),
        near(X2["descent"], plain, relative=1e-10, what="descent (draw, g0)"),
    )


@claim(
    "C8",
    kind="asymptotic",
    source=f"{PAPER}, error against initial scale (E7)",
    paper_size_at="quick",
)
def descent_follows_the_limit(X2: xr.Dataset) -> Check:
    """In small steps rPGD ends where the flow does, within 2 %, and weight normalisation beats
    plain descent or loses to it where the limit of the flow says so.

    Falsified by: an end of rPGD 2 % off the flow's limit, or a winner other than E7 names.
    """
    fine = X2["distance"].sel(eta=0.005, g0=SWEEP)
    limit, plain = X2["limit"].sel(g0=SWEEP), X2["descent"].sel(g0=SWEEP)
    followed, wn = fine.sel(algorithm="rPGD") / limit, fine.sel(algorithm="WN")
    loses = wn > plain
    ends = loses.sel(g0=[0.1, 4.0], draw=KNOWN_DRAWS)
    at_half = int(loses.sel(g0=0.5, draw=KNOWN_DRAWS).sum())
    wrong = loses != (limit > plain)
    often = "draws 0 to 3: how often WN loses to descent at g0 = 0.1 and 4"
    quoted = [0.1608, 0.1808, 0.2595, 0.8773, 3.342]
    known = followed.sel(draw=KNOWN_DRAWS)
    return all_of(
        near(followed, 1, absolute=0.02, what="rPGD / E7 (draw, g0)"),
        near(known, 1, absolute=0.004, what="rPGD / E7, draws 0 to 3"),
        near(X2["quoted"], quoted, relative=2e-3, what="E7 at g* = 2.156 (g0)"),
        true(ends.all(), int(ends.sum()), ends.size, what=often),
        near(at_half, 1, what="draws 0 to 3 where WN loses at g0 = 0.5"),
        true(
            not wrong.any(), int(wrong.sum()), 0, what="(draw, g0) where E7 names the wrong winner"
        ),
    )


@claim("C9", kind="asymptotic", source=f"{PAPER}; derived (E13)")
def drift_is_first_order(X2: xr.Dataset) -> Check:
    """In steps of size eta the invariant and the norm of w drift in proportion to eta.

    Falsified by: a drift that falls by less than 3.6 or more than 4.6 when eta falls by 4.
    """
    d = X2.sel(g0=2.0).isel(time=-1)
    drift, growth = d["invariant"].sel(algorithm="rPGD"), d["length"].sel(algorithm="WN") - 1
    coarse = drift.sel(eta=0.02, draw=KNOWN_DRAWS)
    falls = [of.sel(eta=0.02) / of.sel(eta=0.005) for of in (drift, growth)]
    return all_of(
        near(falls[0], 4.1, absolute=0.5, what="drift of the invariant, eta 0.02 / 0.005"),
        near(falls[1], 4.1, absolute=0.5, what="growth of ||w||, eta 0.02 / 0.005"),
        within(coarse, -0.0325, -0.0125, what="drift at eta = 0.02 (draws 0 to 3)"),
        above(growth, 0, what="growth of ||w|| (eta, draw)"),
    )


@claim("C10", kind="exact", source=f"{PAPER}, weight normalisation (E2)")
def norm_grows_by_the_gradient(X2_steps: xr.Dataset) -> Check:
    """A step of weight normalisation adds eta^2 ||dh/dw||^2 to ||w||^2, so that the norm never
    falls.

    Falsified by: one step after which ||w||^2 is off by 1e-14 (relative).
    """
    what = "||w||^2 after a step (g0, step)"
    return near(X2_steps["squared"], X2_steps["expected"], relative=1e-14, what=what)


@claim("C11", kind="exact", source=f"{PAPER}; derived (E4, E6)")
def invariant_of_other_flows(X1_others: xr.Dataset) -> Check:
    """The invariant holds for another loss as well, and from ||w0|| = 2 with c ||w0||^2 in the
    place of c, not with c itself.

    Falsified by: a relative drift above 1e-7, or one below 0.1 with c itself.
    """
    d = X1_others
    return all_of(
        below(d["huber"], 1e-7, what="drift, pseudo-Huber loss (c, time)"),
        below(d["long"], 1e-7, what="drift, ||w0|| = 2 with c ||w0||^2 (c, time)"),
        above(d["wrong"].max("time"), 0.1, what="drift, ||w0|| = 2 with c alone (c)"),
    )
