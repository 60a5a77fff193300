"""What the study of SGD after zero loss checks, on the tables of its experiments alone."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, true, within
from thalweg.lab.claims import claim

PAPER = "Li, Wang and Arora (2022)"
FLOW = {0.02: 690, 0.05: 428, 0.1: 206, 0.2: 70.8, 0.5: 29.38, 1.0: 27.46}  # draw 0, quoted


@claim("C1", kind="exact", source=f"{PAPER}, lemma 4.3 (E1)")
def derivative_is_the_projector(X0: xr.Dataset) -> Check:
    """On the manifold of minima the derivative of the limit map is the tangent projector, and off
    it the map does not change down the gradient.

    Falsified by: an entry off by 1e-10.
    """
    return all_of(
        below(X0["jacobian"], 1e-10, what="dPhi - P_t (draw)"),
        below(X0["gradient"], 1e-10, what="dPhi grad f off the manifold (draw)"),
    )


@claim("C2", kind="exact", source=f"{PAPER}, lemma 4.5 (E2)")
def second_derivative_in_closed_form(X0: xr.Dataset) -> Check:
    """The second derivative of the limit map on the manifold is the closed form of Hessian and
    third derivative, for noise along, across and both.

    Falsified by: an entry off by 1e-7, or a slip of a factor that would change it by under 0.01.
    """
    return all_of(
        below(X0["second"], 1e-7, what="closed form less the flow's (draw, part)"),
        above(X0["mixed_slip"], 0.01, what="change if the mixed term lost its factor 2 (draw)"),
        above(X0["normal_slip"], 0.01, what="change if H^+ stood for the Lyapunov inverse (draw)"),
    )


@claim("C3", kind="exact", source=f"{PAPER}, corollaries 5.1 and 5.2; coefficient derived (E4, E5)")
def trace_and_log_determinant(X0: xr.Dataset) -> Check:
    """Noise of covariance H descends a quarter of the trace of the Hessian along the manifold, and
    isotropic noise a quarter of its log-determinant.

    Falsified by: an entry of either off by 1e-7.
    """
    return all_of(
        below(X0["label"], 1e-7, what="drift of noise H (draw)"),
        below(X0["isotropic"], 1e-7, what="drift of noise I (draw)"),
        above(X0["isotropic_slope"], 0.01, what="the slope itself (draw)"),
    )


@claim("C4", kind="asymptotic", source=f"{PAPER}, theorem 4.6; derived (E6)")
def label_noise_descends_the_valley(X2_label: xr.Dataset) -> Check:
    """With noise of labels in a valley the mean of SGD at slow time 1 tends to 1.5 exp(-1/2), the
    limiting flow's, with an error in proportion to the step size.

    Falsified by: a slope of the error in log-log other than 1 +- 0.2, or errors off those quoted.
    """
    d = X2_label.sel(slow=1.0)
    truth = float(d["mean_theory"])
    error = d["mean"].values / truth - 1
    eta = d["eta"].values
    slope = np.polyfit(np.log(eta), np.log(np.abs(error)), 1)[0]
    quoted = dict(zip((0.2, 0.1, 0.05, 0.025), (-0.126, -0.060, -0.0285, -0.0135), strict=True))
    spread = 4 * d["mean_error"].values / truth + 0.004  # and that of the quoted runs
    expected = np.array([quoted[float(e)] for e in eta])
    return all_of(
        near(truth, 0.909796, absolute=5e-7, what="1.5 exp(-1/2)"),
        near(X2_label["flow"], X2_label["mean_theory"], relative=1e-6, what="limiting flow (slow)"),
        near(slope, 1, absolute=0.2, what="slope of the error against the step size"),
        within(error, expected - spread, expected + spread, what="relative error (eta)"),
    )


@claim("C5", kind="asymptotic", source=f"{PAPER}, corollary 5.1; coefficient derived (E5)")
def isotropic_noise_diffuses(X2_isotropic: xr.Dataset) -> Check:
    """With isotropic noise the first two moments are those of the diffusion that descends a quarter
    of the log-determinant, not a half and not none.

    Falsified by: a moment 5 % off the diffusion's at step size 0.05.
    """
    d = X2_isotropic
    return all_of(
        near(d["theory"], [1.296, 2.649], absolute=2e-3, what="moments of the diffusion (power)"),
        below(d["theory_error"], 1e-3, what="their error (power)"),
        near(d["descent"], d["theory"], relative=0.05, what="moments of SGD (power)"),
        near(d["diffusion"], d["theory"], relative=0.07, what="simulated diffusion (power)"),
    )


@claim("C6", kind="asymptotic", source=f"{PAPER}, k-phase motor; instance constructed (E7)")
def the_motor_turns(X3: xr.Dataset) -> Check:
    """The drift need not descend anything: a motor turns by half a radian per slow time, at every
    step size.

    Falsified by: a mean angle at slow time 8 off 4 by 0.15.
    """
    return all_of(
        near(X3["angle"].sel(slow=8.0), 4.0, absolute=0.15, what="mean angle at 8 (eta)"),
        near(X3["flow"], X3["slow"] / 2, absolute=1e-4, what="angle of the flow (slow)"),
    )


@claim("C7", kind="asymptotic", source=f"{PAPER}, theorem 6.1 (E8)")
def flow_tracks_sgd(X1: xr.Dataset) -> Check:
    """On the over-parametrised linear model the trace of SGD with label noise follows the limiting
    flow on the slow clock.

    Falsified by: a relative difference of the traces of 8 % from slow time 0.02 to 1.
    """
    d = X1.isel(slow=slice(None, -1)).sel(slow=slice(0.0199, 1.001))  # SGD ends before the flow
    first = d["flow_trace"].sel(draw=0)
    times = [t for t in FLOW if np.any(np.isclose(d["slow"], t))]
    flow = np.array([float(first.sel(slow=t, method="nearest")) for t in times])
    return all_of(
        near(d["limit_trace"] / d["flow_trace"], 1, absolute=0.08, what="SGD / flow (draw, slow)"),
        near(flow, [FLOW[t] for t in times], relative=2e-3, what="flow, draw 0 (slow)"),
    )


@claim("C8", kind="asymptotic", source=f"{PAPER}, theorem 6.1 (E9, E10)")
def sparse_truth_is_found(X1: xr.Dataset) -> Check:
    """Label noise recovers the sparse truth from half as many examples as unknowns, where plain
    descent does not: it ends at the least weighted l1 norm.

    Falsified by: ||w - w*||^2 of 1e-3 at slow time 2, of 1e-6 on the flow, or a trace off the least
    by 0.2 % (flow at 4: 0.01 %).

    Too small: slow time ends long before the flow does.
    """
    plain = X1["descent_error"]
    end, last = X1.sel(slow=2.0, method="nearest"), X1.isel(slow=-1)
    quoted = np.array([1.37, 1.89, 1.25])[: len(plain)]
    reached = bool(np.isclose(float(end["slow"]), 2.0))
    return all_of(
        near(plain[: len(quoted)], quoted, absolute=6e-3, what="descent alone (draw)"),
        true(reached, float(end["slow"]), 2.0, what="slow time that was reached"),
        below(end["limit_error"], 1e-3, what="SGD, then the limit map, at 2 (draw)"),
        below(end["flow_error"], 1e-6, what="flow at 2 (draw)"),
        near(X1["least_trace"].sel(draw=0), 27.43298, absolute=1e-5, what="least trace, draw 0"),
        below(X1["least_trace_error"], 1e-6, what="its duality gap (draw)"),
        near(end["limit_trace"], X1["least_trace"], relative=2e-3, what="trace of SGD (draw)"),
        near(last["flow_trace"], X1["least_trace"], relative=1e-4, what="trace of the flow (draw)"),
    )


@claim("C9", kind="statistical", source=f"{PAPER}, theorem 6.7 (E11)")
def least_norm_misses(X4: xr.Dataset) -> Check:
    """Any learner in the span of Gaussian examples misses the truth by (1 - n/d) ||w*||^2 at least,
    and the least-norm interpolant by just that in the mean.

    Falsified by: a mean over 2000 draws off 1.5 by 0.02.
    """
    return all_of(
        near(X4["expected"], 1.5, absolute=1e-12, what="(1 - n/d) ||w*||^2"),
        near(X4["mean"], X4["expected"], absolute=0.02, what="mean ||w - w*||^2"),
        below(X4["mean_error"], 0.0075, what="its standard error"),
    )


@claim("C10", kind="exact", source=f"{PAPER}, section 6 (E9)")
def trace_in_closed_form(X0: xr.Dataset) -> Check:
    """Where the model fits, the trace of the Hessian is a weighted sum of the squares of its
    parameters.

    Falsified by: a trace off the Hessian's by 1e-10.
    """
    return below(X0["trace"], 1e-10, what="trace formula less the Hessian's trace (draw)")
