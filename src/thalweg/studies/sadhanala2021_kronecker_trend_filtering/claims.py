"""What the study of Kronecker trend filtering checks, on the tables of its experiments alone."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, within
from thalweg.lab.claims import claim
from thalweg.lab.scaling import exponent

PAPER = "Sadhanala, Wang, Hu and Tibshirani (2021)"


def slope(cells: xr.DataArray, risk: xr.DataArray) -> xr.DataArray:
    """Of the logarithm of a risk against that of the cells, where it was measured."""
    kept = risk.notnull()
    return exponent(risk[kept], cells[kept])


@claim("C1", kind="exact", source=f"{PAPER}, E1, E2")
def null_space_of_tensor_polynomials(X0: xr.Dataset) -> Check:
    """The null space of the differences has dimension (k + 1)^d.

    Falsified by: another rank in any of four cases.
    """
    return near(X0["nullity"], [1, 4, 9, 8], absolute=0.0, what="nullity (draw, case)")


@claim("C2", kind="exact", source=f"{PAPER}, E4; two points by hand")
def spectrum_solve_and_limits(X0: xr.Dataset) -> Check:
    """Eigenvalues of D^T D are sums of those of the axes, the solve by cosines is exact, and
    the fit at a large penalty is the projection on tensor polynomials.

    Falsified by: 1e-12 for eigenvalues, solve and projector, 1e-3 for the fit at its gap of 1e-10,
    1e-3 for two points.
    """
    return all_of(
        below(X0["spectrum"], 1e-12, what="eigenvalues (draw)"),
        below(X0["solve"], 1e-12, what="solve (draw)"),
        below(X0["projector"], 1e-12, what="projector (draw)"),
        below(X0["limit"], 1e-3, what="fit at a large penalty (draw)"),
        below(X0["two"], 1e-3, what="fit to two points (draw)"),
    )


@claim("C3", kind="exact", source=f"{PAPER}; Tibshirani (2020), E7, E8")
def coefficients_are_differences(X0: xr.Dataset) -> Check:
    """Coefficients in the falling-factorial basis are N^k times the differences on even designs,
    and divided differences on uneven ones.

    Falsified by: a relative error of 1e-9 (k = 3 loses five digits to spacings).
    """
    return all_of(
        below(X0["even"], 1e-9, what="even design (draw, order)"),
        below(X0["uneven"], 1e-9, what="uneven design (draw, order)"),
    )


@claim("C4", kind="exact", source=f"{PAPER}; Tibshirani (2020), E10")
def interpolation_is_the_expansion(X0: xr.Dataset) -> Check:
    """The polynomial through k + 1 neighbours is the expansion in the basis at any point, in one
    dimension and for tensor products, and gives back values and polynomials.

    Falsified by: a difference of 1e-8.
    """
    names = ("between", "between_uneven", "tensor", "lattice", "polynomial")
    return all_of(*(below(X0[name], 1e-8, what=f"{name} (draw, order)") for name in names))


@claim("C5", kind="exact", source=f"{PAPER}, E9")
def differences_are_total_variation(X0: xr.Dataset) -> Check:
    """N^k times the norm of the differences is the total variation of the k-th derivative, and a
    spike of height H inside has d 2^(k+1) H.

    Falsified by: a relative difference of 1e-9.
    """
    return all_of(
        below(X0["variation"], 1e-9, what="total variation (draw, order)"),
        near(X0["spike"], 1, absolute=1e-12, what="spike (draw, order)"),
    )


@claim("C6", kind="exact", source=f"{PAPER}, E3")
def fits_are_certified(X6: xr.Dataset) -> Check:
    """In one, two and three dimensions fits reach a relative duality gap of 1e-6, never negative.

    Falsified by: a gap above 1e-6 or below -1e-12, or a dual point outside its bounds.
    """
    return all_of(
        below(X6["gap"], 1e-6, what="gap (case, draw)"),
        within(X6["by_hand"], -1e-12, 1e-6, what="gap by hand (case, draw)"),
        below(X6["outside"], 1e-12, what="|v| - 1 (case)"),
    )


@claim("C7", kind="statistical", source=f"{PAPER}; Tibshirani and Taylor (2012), E6")
def degrees_of_freedom_by_the_active_set(D: xr.Dataset) -> Check:
    """The nullity of the differences without active rows estimates the covariance without bias.

    Falsified by: means 3 combined standard errors apart, that of the covariance being under 0.3.
    """
    error = np.hypot(D["covariance_error"], D["nullity_error"])
    return all_of(
        below(abs(D["covariance"] - D["nullity"]) / error, 3, what="difference (order)"),
        below(D["covariance_error"], 0.3, what="standard error (order)"),
    )


@claim("C8", kind="empirical", source=f"{PAPER}, theorems on linear smoothers")
def linear_smoothers_miss_the_spike(A2: xr.Dataset, A3: xr.Dataset) -> Check:
    """On spikes of canonical height linear smoothers do not improve with the lattice, at any
    tuning; trend filtering does.

    Falsified by: eigenmaps under 0.06 or a Laplacian slope under -0.1 on the plane, trend filtering
    over a quarter of the better at side 64 or with a slope over -0.4, or over a twentieth at side
    16 in space.
    """
    far, deep = A2.sel(side=64), A3.sel(side=16)
    return all_of(
        above(far["eigenmap"], 0.06, what="eigenmaps at 64"),
        above(slope(A2["cells"], A2["laplacian"]), -0.1, what="slope of the Laplacian"),
        below(slope(A2["cells"], A2["trend"]), -0.4, what="slope of trend filtering"),
        below(
            far["trend"],
            np.minimum(far["laplacian"], far["eigenmap"]) / 4,
            what="at 64 on the plane",
        ),
        below(deep["trend"], np.minimum(deep["laplacian"], deep["eigenmap"]) / 20, what="at 16"),
        near(far["laplacian"], 0.0627, absolute=6e-5, what="Laplacian at 64, exact"),
        near(deep["laplacian"], 0.341, absolute=6e-4, what="Laplacian at 16 in space, exact"),
    )


@claim("C9", kind="empirical", source=f"{PAPER}; Donoho and Johnstone (1998)")
def rates_on_a_step(B: xr.Dataset) -> Check:
    """On a step linear smoothers have the risk n^(-1/2), trend filtering a faster one.

    Falsified by: slopes of the linear off -1/2 by 0.05, or that of trend filtering above -0.65.
    """
    return all_of(
        near(slope(B["side"], B["laplacian"]), -0.5, absolute=0.05, what="slope, Laplacian"),
        near(slope(B["side"], B["eigenmap"]), -0.5, absolute=0.05, what="slope, eigenmaps"),
        below(slope(B["side"], B["trend"]), -0.65, what="slope, trend filtering"),
    )


@claim("C10", kind="empirical", source=f"{PAPER}, figures; function and risks re-derived")
def heterogeneous_function(C: xr.Dataset) -> Check:
    """On a pyramid on a plane the linear risks are those known exactly, and trend filtering of the
    best order has at most three quarters of the best.

    Falsified by: a linear risk off by 6e-5, or a ratio above 0.75.
    """
    linear = float(min(C["laplacian"].min(), C["eigenmap"].min()))
    return all_of(
        near(C["laplacian"], [0.0326, 0.0251, 0.0245], absolute=6e-5, what="Laplacian (order)"),
        near(C["eigenmap"], 0.0295, absolute=6e-5, what="eigenmaps (order)"),
        below(float(C["trend"].min()) / linear, 0.75, what="trend filtering / best linear"),
    )
