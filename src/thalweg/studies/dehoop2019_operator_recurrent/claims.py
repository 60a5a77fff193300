"""What the study of operator recurrent networks checks of boundary control, on its tables alone."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, within
from thalweg.lab.claims import claim, held
from thalweg.lab.scaling import exponent

PAPER = "de Hoop, Lassas and Wong (2019)"


@claim("C1", kind="exact", source=f"{PAPER}; Blagovestchenskii's identity, E6 to E8")
def waves_are_known_at_the_end(A0: xr.Dataset, A1: xr.Dataset) -> Check:
    """What is heard is a Toeplitz matrix times the source, and inner products of waves inside, and
    with 1, are quadratic and linear forms of sources; K is symmetric and positive definite.

    Falsified by: a relative difference of 1e-12 in any medium, an eigenvalue of K that is not
    above 1e-12 of the largest (rounding is 1e-14), or extreme ones of the smooth medium off 1.4e-5
    and 1.3e-2 by a twentieth.
    """
    names = ("toeplitz", "symmetry", "waves", "ones")
    return all_of(
        *(below(A0[name], 1e-12, what=f"{name} (steps, draw)") for name in names),
        above(A0["least"], 1e-12, what="smallest eigenvalue over |K| (steps, draw)"),
        near(A1["smallest"], 1.4e-5, relative=0.05, what="smallest eigenvalue"),
        near(A1["largest"], 1.3e-2, relative=0.05, what="largest eigenvalue"),
    )


@claim("C2", kind="exact", source=f"{PAPER}; E9, E10 on a grid of travel time")
def volumes_and_speeds_are_recovered(A0: xr.Dataset, A1: xr.Dataset) -> Check:
    """Without a penalty the volume within reach of the last k times is the sum of k masses, and the
    slowness of every cell follows, for every k.

    Falsified by: a relative error of 1e-10 in any medium (1e-8 where the condition number is above
    1e7), or of 1e-12 in the position that waves reach in the smooth one.

    Stated so: of 600 media whose cells have independent speeds two have condition numbers from 1e7
    to 1e9, and rounding grows with it; of layers and smooth media none has.
    """
    allowed = np.where(A0["least"] > 1e-7, 1e-10, 1e-8)
    return all_of(
        below(A0["volumes"], allowed, what="volumes (steps, draw)"),
        below(A0["slowness"], allowed, what="slowness (steps, draw)"),
        near(A1["volume"], A1["volume_theory"], relative=1e-10, what="volumes (cell)"),
        near(A1["speed"], A1["speed_theory"], relative=1e-10, what="speed (cell)"),
        near(A1["reach"], A1["reach_theory"], relative=1e-12, what="position at T"),
        near(A1["reach"], 1.16301, absolute=5e-6, what="position at T, as known"),
    )


@claim("C9", kind="empirical", source=f"{PAPER}; experiment on volumes")
def penalties_and_grids_cost_in_proportion(A3: xr.Dataset, A4: xr.Dataset) -> Check:
    """Without noise the error of the volume is linear in the penalty, and on a physical grid it
    falls at least by half when the grid is halved.

    Falsified by: a slope of log error against log penalty off 1 by 0.05 between 1e-8 and 1e-4, or a
    ratio under 2 between one grid and the next.
    """
    clean = A3["error"].sel(noise=0.0)
    small = clean.isel(penalty=clean["penalty"].values <= 1.1e-4)
    error = A4["error"].values
    return all_of(
        near(exponent(small, small["penalty"]), 1, absolute=0.05, what="slope in the penalty"),
        above(error[:-1] / error[1:], 2, what="ratio from one grid to the next (grid)"),
    )


@claim("C10", kind="exact", source=f"{PAPER}; Bingham and others (2008), E11")
def time_reversal_converges_by_its_spectrum(A2: xr.Dataset) -> Check:
    """Landweber's iteration is gradient descent on the control problem; its distance from the limit
    is that of its spectrum, below the geometric bound.

    Falsified by: a distance off its prediction by 1e-6, relative, above the bound, or off 0.84,
    0.53, 0.076 and 5.5e-7 after 10, 100, 1000 and 10000 iterations by a fiftieth.
    """
    known = A2["distance"].values[np.isin(A2["count"], (10, 100, 1000, 10000))]
    return all_of(
        held(A2, "distance", relative=1e-6),
        below(A2["distance"][1:], A2["bound"][1:] * (1 + 1e-9), what="distance (time)"),
        below(A2["by_hand"], 1e-12, what="100 steps by hand"),
        near(known, [0.84, 0.53, 0.076, 5.5e-7], relative=0.02, what="known distances"),
    )


@claim("C11", kind="empirical", source=f"{PAPER}; traps of its specification")
def noise_asks_for_a_smoothed_volume(A1: xr.Dataset, A3: xr.Dataset) -> Check:
    """In noise the recursion that is exact for cells amplifies what a smoothed slope bears, and a
    volume is off by no more than a few times the noise at the best penalty.

    Falsified by: a median error of the smoothed speed above 0.04 at a noise of 0.03, or above a
    fifth of that of the recursion; an error of the volume at the best penalty above 5e-3 at a noise
    of 0.01 or 5e-2 at 0.1, or not twice as large at the greatest penalty.
    """
    best = A3["error"].min("penalty")
    return all_of(
        below(np.median(A1["off"]), 0.04, what="smoothed speed"),
        below(
            np.median(A1["off"]), np.median(A1["off_raw"]) / 5, what="smoothed against recursion"
        ),
        within(best.sel(noise=0.01), 5e-4, 5e-3, what="volume at noise 0.01"),
        within(best.sel(noise=0.1), 5e-3, 5e-2, what="volume at noise 0.1"),
        above(A3["error"].isel(penalty=-1), 2 * best, what="at the greatest penalty (noise)"),
    )
