"""What the study of weight normalisation checks, on the data sets of its experiments alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, true, within
from thalweg.lab.claims import Claim

Results = Mapping[str, xr.Dataset]

SCALES = [0.1, 1.0, 2.0, 4.0]
KNOWN_DRAWS = [0, 1, 2, 3]  # of X2, those that the specification gives ranges for
SWEEP = [0.1, 0.5, 1.0, 2.0, 4.0]


def invariant_stays(results: Results) -> Check:
    """C1."""
    drift = results["X1"]["drift"]
    return all_of(
        below(drift.sel(c=1.0), 1e-8, what="drift at c = 1 (g0, time)"),
        below(drift.sel(c=4.0), 1e-8, what="drift at c = 4 (g0, time)"),
        below(results["X1-draws"]["drift"], 1e-8, what="drift at c = 1 (draw, g0, time)"),
    )


def scale_ends_at_the_root(results: Results) -> Check:
    """C2."""
    d = results["X1"]
    squared = d["g"].isel(time=-1) ** 2
    others = results["X1-draws"]
    found = squared.sel(c=1.0, g0=SCALES)
    mirrored = squared.sel(c=1.0, g0=-1.0)
    return all_of(
        near(squared, d["limit"], relative=1e-10, what="g^2 at the end (g0, c)"),
        near(
            others["g"].isel(time=-1) ** 2, others["limit"], relative=1e-10, what="(draw, g0): g^2"
        ),
        near(found, [9.733360, 9.733881, 9.749488, 16.275411], absolute=5e-7, what="g^2 (g0)"),
        near(mirrored, squared.sel(c=1.0, g0=1.0), relative=1e-10, what="g^2 from g0 = -1"),
        below(d["g"].sel(g0=-1.0), 0, what="g from g0 = -1 (c, time)"),
    )


def orthogonal_part_shrinks(results: Results) -> Check:
    """C3."""
    d = results["X1"].sel(c=1.0, g0=SCALES)
    part = d["perp"].isel(time=-1)
    plain = d["descent_distance"]
    expected = [0.01756, 0.02881, 0.12821, 2.5578]
    half_digits = [5e-6, 5e-6, 5e-6, 5e-5]
    gap = np.abs(part.values - expected) - half_digits
    return all_of(
        below(gap, 0, what="||x_perp|| at the end, less its rounding (g0)"),
        near(plain, [0.0728, 0.7276, 1.4552, 2.9105], absolute=5e-5, what="plain descent (g0)"),
        near(part, d["limit_distance"], relative=1e-6, what="||x_perp|| by E7 (g0)"),
    )


def bounds_hold(results: Results) -> Check:
    """C4."""
    checks = []
    for name in ("X1", "X1-draws"):
        d = results[name]
        loss = d["loss"]
        later = (loss > 1e-20 * loss.isel(time=0)) & (d["time"] > 0)
        excess = np.log(loss.values / d["loss_bound"].values)[later.values]
        checks += [
            above(d["g"] ** 2 - d["floor"], 0, what=f"{name}: g^2 less its bound"),
            below(excess, 0, what=f"{name}: ln(loss / bound)"),
        ]
    return all_of(*checks)


def phase_one_in_closed_form(results: Results) -> Check:
    """C5."""
    d = results["X3"]
    perp = d["perp"].values
    gap = np.abs((d["perp_theory"].values / perp) ** 2 - 1)
    last = d["perp"].sel(relative_scale=1.5).isel(step=-1)
    return all_of(
        below(gap[perp > 1e-6], 1e-9, what="relative error of ||w_perp||^-2 above 1e-6"),
        below(gap[perp > 1e-10], 1e-5, what="the same above 1e-10"),
        near(last, 0.745356, absolute=1e-6, what="||w_perp|| at the end, g0 = 1.5 g* (draw)"),
    )


def phase_two_contracts(results: Results) -> Check:
    """C6."""
    d = results["X3"]
    gap = d["gap"].values
    before, after = gap[:, :-1], gap[:, 1:]
    large = np.abs(after) > 1e-8 * d["norm"].values[:, None]
    return all_of(
        near(after[large] / before[large], 0.8, absolute=1e-6, what="(g - g*)' / (g - g*)"),
        below(d["final"], 1e-11, what="||x - x*|| after both phases (draw)"),
    )


def two_phases_are_exact(results: Results) -> Check:
    """C7."""
    d = results["X2"]
    held = d["held_large"]
    large = d["g0"].values > d["norm"].values[:, None]
    known = held.sel(draw=KNOWN_DRAWS)
    plain = d["g0"].values * d["perp"].values[:, None]
    return all_of(
        below(d["two_phase"], 1e-10, what="||x - x*||, two-phase rPGD (draw, g0)"),
        above(
            held.values[large],
            1e-3,
            what="||x - x*||, phase I at a scale above g*",
        ),
        within(known.sel(g0=2.0), 0.65, 1.35, what="phase I at 2 (draws 0 to 3)"),
        within(known.sel(g0=4.0), 3.45, 3.75, what="phase I at 4 (draws 0 to 3)"),
        near(d["descent"], plain, relative=1e-10, what="descent (draw, g0)"),
    )


def descent_follows_the_limit(results: Results) -> Check:
    """C8."""
    d = results["X2"]
    fine = d["distance"].sel(eta=0.005, g0=SWEEP)
    limit, plain = d["limit"].sel(g0=SWEEP), d["descent"].sel(g0=SWEEP)
    rpgd, wn = fine.sel(algorithm="rPGD"), fine.sel(algorithm="WN")
    loses = wn > plain
    ends = loses.sel(g0=[0.1, 4.0], draw=KNOWN_DRAWS)
    at_half = int(loses.sel(g0=0.5, draw=KNOWN_DRAWS).sum())
    quoted = [0.1608, 0.1808, 0.2595, 0.8773, 3.342]
    return all_of(
        near(rpgd / limit, 1, absolute=0.02, what="rPGD / E7 (draw, g0)"),
        near(
            rpgd.sel(draw=KNOWN_DRAWS) / limit.sel(draw=KNOWN_DRAWS),
            1,
            absolute=0.004,
            what="rPGD / E7, draws 0 to 3",
        ),
        near(d["quoted"], quoted, relative=2e-3, what="E7 at g* = 2.156 (g0)"),
        true(
            ends.all(),
            int(ends.sum()),
            ends.size,
            what="draws 0 to 3: how often WN loses to descent at g0 = 0.1 and 4",
        ),
        near(at_half, 1, what="draws 0 to 3 where WN loses at g0 = 0.5"),
        true(
            (loses == (limit > plain)).all(),
            int((loses != (limit > plain)).sum()),
            0,
            what="(draw, g0) where E7 names the wrong winner",
        ),
    )


def drift_is_first_order(results: Results) -> Check:
    """C9."""
    d = results["X2"].sel(g0=2.0).isel(time=-1)
    drift = d["invariant"].sel(algorithm="rPGD")
    growth = d["length"].sel(algorithm="WN") - 1
    coarse = drift.sel(eta=0.02, draw=KNOWN_DRAWS)

    def fall(of: xr.DataArray) -> xr.DataArray:
        return of.sel(eta=0.02) / of.sel(eta=0.005)

    return all_of(
        near(fall(drift), 4.1, absolute=0.5, what="drift of the invariant, eta 0.02 / 0.005"),
        near(fall(growth), 4.1, absolute=0.5, what="growth of ||w||, eta 0.02 / 0.005"),
        within(coarse, -0.0325, -0.0125, what="drift at eta = 0.02 (draws 0 to 3)"),
        above(growth, 0, what="growth of ||w|| (eta, draw)"),
    )


def norm_grows_by_the_gradient(results: Results) -> Check:
    """C10."""
    d = results["X2-steps"]
    return near(d["squared"], d["expected"], relative=1e-14, what="||w||^2 after a step (g0, step)")


def invariant_of_other_flows(results: Results) -> Check:
    """C11."""
    d = results["X1-others"]
    return all_of(
        below(d["huber"], 1e-7, what="drift, pseudo-Huber loss (c, time)"),
        below(d["long"], 1e-7, what="drift, ||w0|| = 2 with c ||w0||^2 (c, time)"),
        above(d["wrong"].max("time"), 0.1, what="drift, ||w0|| = 2 with c alone (c)"),
    )


PAPER = "Wu et al. (2020)"

CLAIMS = (
    Claim(
        "C1",
        "Along the flow the part of the direction that the data do not see shrinks exactly as "
        "exp(-g^2/(2c)) when the scale g grows.",
        "exact",
        f"{PAPER}, invariant of the flow; derived (E6)",
        ("X1", "X1-draws"),
        invariant_stays,
    ),
    Claim(
        "C2",
        "The scale ends at a value that the start alone decides, the root of one equation; a "
        "negative start gives the negative scale.",
        "exact",
        f"{PAPER}; derived (E7)",
        ("X1", "X1-draws"),
        scale_ends_at_the_root,
    ),
    Claim(
        "C3",
        "From |g0| = 0.1 to 4 weight normalisation ends nearer to the least-norm solution than "
        "plain descent from the same point: 0.018 to 2.6 against 0.073 to 2.9.",
        "exact",
        f"{PAPER}; derived (E7)",
        ("X1",),
        orthogonal_part_shrinks,
    ),
    Claim(
        "C4",
        "g^2 never falls below g0^2 + c ln ||w0_perp||^2, and the loss falls at least at the "
        "linear rate 2 lambda_min min(c, g^2).",
        "exact",
        f"{PAPER}, condition and rate of convergence; derived (E8, E9)",
        ("X1", "X1-draws"),
        bounds_hold,
    ),
    Claim(
        "C5",
        "With orthonormal rows, a held scale and step 1/g0^2, ||w_perp||^-2 follows its closed "
        "form: to zero for g0 < g*, to sqrt(1 - (g*/g0)^2) for g0 > g*.",
        "exact",
        f"{PAPER}, phase I; derived (E10)",
        ("X3",),
        phase_one_in_closed_form,
    ),
    Claim(
        "C6",
        "In phase II the scale approaches ||x*|| by the factor 1 - gamma = 0.8 a step, and both "
        "phases together end at the least-norm solution.",
        "exact",
        f"{PAPER}, phase II (E11)",
        ("X3",),
        phase_two_contracts,
    ),
    Claim(
        "C7",
        "Two-phase rPGD ends at the least-norm solution whatever the initial scale, if phase I "
        "holds a scale below g*, and misses it above; plain descent misses it by |g0| ||w0_perp||.",
        "exact",
        f"{PAPER}, two-phase algorithm (E12)",
        ("X2",),
        two_phases_are_exact,
    ),
    Claim(
        "C8",
        "In small steps rPGD ends where the flow does, within 2 %, and weight normalisation beats "
        "plain descent or loses to it where the limit of the flow says so.",
        "empirical",
        f"{PAPER}, error against initial scale (E7)",
        ("X2",),
        descent_follows_the_limit,
    ),
    Claim(
        "C9",
        "In steps of size eta the invariant and the norm of w drift in proportion to eta.",
        "empirical",
        f"{PAPER}; derived (E13)",
        ("X2",),
        drift_is_first_order,
    ),
    Claim(
        "C10",
        "A step of weight normalisation adds eta^2 ||dh/dw||^2 to ||w||^2, so that the norm never "
        "falls.",
        "exact",
        f"{PAPER}, weight normalisation (E2)",
        ("X2-steps",),
        norm_grows_by_the_gradient,
    ),
    Claim(
        "C11",
        "The invariant holds for another loss as well, and from ||w0|| = 2 with c ||w0||^2 in the "
        "place of c, not with c itself.",
        "exact",
        f"{PAPER}; derived (E4, E6)",
        ("X1-others",),
        invariant_of_other_flows,
    ),
)
