"""What the study of implicit acceleration checks, on the data sets of its experiments alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near
from thalweg.lab.claims import Claim

Results = Mapping[str, xr.Dataset]

PAPER = "Arora, Cohen and Hazan (2018)"
INTEGRALS = {2: 0.0, 3: 2.260604, 4: 5.019855, 8: 17.296284}
UPDATES = [[2780, 729, 243], [1, 10, 26]]  # p = 4 and p = 2 by depth 1, 2, 3
BEST_QUARTIC = [-1.75, -2.25, -2.125]  # log10 of the step sizes of these


def product_follows_the_rule(results: Results) -> Check:
    """C1."""
    d = results["X1"]
    return all_of(
        near(d["gap"], 0, absolute=1e-9, what="product of the factors less the rule"),
        near(d["defect"], 0, absolute=1e-12, what="balance defect"),
    )


def preconditioner_is_the_rule(results: Results) -> Check:
    """C2."""
    d = results["preconditioner"]
    return all_of(
        near(d["action_gap"], 0, absolute=1e-12, what="P vec(G) less the rule (shape, depth)"),
        near(d["pair_gap"], 0, absolute=1e-12, what="P v less eigenvalue v (shape, depth)"),
        above(d["least"], 0, what="least eigenvalue of P (shape, depth)"),
    )


def single_output_is_a_special_case(results: Results) -> Check:
    """C3."""
    d = results["single-output"]
    return all_of(
        near(d["gap"], 0, absolute=1e-12, what="rule for one output less the general (draw, N)"),
        near(d["scalar_gap"], 0, absolute=1e-14, what="step on a scalar factor (seed)"),
    )


def integral_is_not_zero(results: Results) -> Check:
    """C4."""
    d = results["integral"]
    stated = d["integral"].sel(depth=list(INTEGRALS))
    return all_of(
        near(d["integral"], d["theory"], absolute=1e-8, what="integral by depth"),
        near(stated, list(INTEGRALS.values()), absolute=5e-7, what="stated values, six decimals"),
    )


def depth_two_is_the_border(results: Results) -> Check:
    """C5."""
    d = results["asymmetry"]
    return all_of(
        near(d["potential_gap"], 0, absolute=1e-12, what="linear loss: rule less its potential"),
        above(d["generic"], 0.01, what="asymmetry, Q = diag(1, 2, 3, 4) (draw)"),
        near(d["isotropic"], 0, absolute=1e-8, what="asymmetry, Q = I (draw)"),
    )


def descent_differs_by_the_step_size(results: Results) -> Check:
    """C6."""
    return near(results["X1-steps"]["slope"], 1, absolute=0.1, what="slope by draw")


def widths_do_not_matter(results: Results) -> Check:
    """C7."""
    return near(results["X1-widths"]["gap"], 0, absolute=1e-8, what="distance by width")


def depth_accelerates_quartic_loss(results: Results) -> Check:
    """C8."""
    d = results["X2-l4"]
    steps, final = d["steps"], d["final"]
    plain = steps.sel(optimiser="depth 1")
    two, three = (steps.sel(optimiser=name) / plain for name in ("depth 2", "depth 3"))
    slow = final.sel(optimiser=["depth 1", "AdaGrad"])
    gains = [slow / final.sel(optimiser=name, drop=True) for name in ("depth 2", "depth 3")]
    return all_of(
        below(two, 0.6, what="steps of depth 2 / of depth 1 (draw)"),
        below(three, 0.4, what="steps of depth 3 / of depth 1 (draw)"),
        above(np.stack(gains), 3, what="last excess of depth 1, AdaGrad / of depths 2, 3"),
    )


def depth_does_not_accelerate_squares(results: Results) -> Check:
    """C9."""
    steps = results["X2-l2"]["steps"]
    ratio = steps.sel(optimiser=["depth 2", "depth 3"]) / steps.sel(optimiser="depth 1", drop=True)
    return above(ratio, 0.8, what="steps of depths 2, 3 / of depth 1 (draw, depth)")


def toy_counts(results: Results) -> Check:
    """C10."""
    d = results["X3"]
    return all_of(
        near(d["fewest"], UPDATES, absolute=0.5, what="updates (p, depth)"),
        near(d["best"].sel(p=4), BEST_QUARTIC, absolute=1e-9, what="log10 of the rate, p = 4"),
        near(d["best"].sel(p=2, depth=1), 0, absolute=1e-9, what="log10 of the rate, p = 2, N = 1"),
    )


CLAIMS = (
    Claim(
        "C1",
        "Under gradient flow from balanced matrices, weight decay included, their product moves by "
        "a rule that knows the product and the depth alone, and the matrices stay balanced.",
        "exact",
        f"{PAPER}, Theorem 1 (E1 to E3)",
        ("X1",),
        product_follows_the_rule,
    ),
    Claim(
        "C2",
        "The rule multiplies the gradient by a positive semidefinite matrix, whose eigenvectors "
        "are products of the singular vectors of the current W and whose eigenvalues are sums of "
        "powers of its singular values.",
        "exact",
        f"{PAPER}, Claim 1 (E5, E6)",
        ("preconditioner",),
        preconditioner_is_the_rule,
    ),
    Claim(
        "C3",
        "For one output the rule is an adaptive step size and a projection on w; with one scalar "
        "factor a step of descent is, exactly, a step with momentum and a term in the squared "
        "step size.",
        "exact",
        f"{PAPER}, Claim 2 and the depth-2 example (E7, E8)",
        ("single-output",),
        single_output_is_a_special_case,
    ),
    Claim(
        "C4",
        "From depth 3 on the rule is the gradient of no function: its integral along a closed "
        "curve is not zero.",
        "exact",
        f"{PAPER}, Theorem 2; the constant is derived here (E9, E10)",
        ("integral",),
        integral_is_not_zero,
    ),
    Claim(
        "C5",
        "At depth 2 it is a gradient for linear losses and for isotropic squares, not for other "
        "squares.",
        "exact",
        f"{PAPER}, Theorem 2 asks for depth above 2; the exception is derived here",
        ("asymmetry",),
        depth_two_is_the_border,
    ),
    Claim(
        "C6",
        "Descent on the factors and the rule in steps part in proportion to the step size.",
        "exact",
        f"{PAPER}, end-to-end update rule (E4)",
        ("X1-steps",),
        descent_differs_by_the_step_size,
    ),
    Claim(
        "C7",
        "The path of the product does not depend on the hidden widths.",
        "exact",
        f"{PAPER}, Theorem 1",
        ("X1-widths",),
        widths_do_not_matter,
    ),
    Claim(
        "C8",
        "In regression with the fourth power of the error one or two scalar factors make descent "
        "several times faster than it is without them, and than AdaGrad.",
        "empirical",
        f"{PAPER}, experiments with the l_4 loss",
        ("X2-l4",),
        depth_accelerates_quartic_loss,
    ),
    Claim(
        "C9",
        "With squared errors they do not.",
        "empirical",
        f"{PAPER}, experiments with the l_2 loss",
        ("X2-l2",),
        depth_does_not_accelerate_squares,
    ),
    Claim(
        "C10",
        "Two targets of 10 and 1 take 2780, 729 and 243 updates at depths 1, 2 and 3 with fourth "
        "powers, and 1, 10 and 26 with squares, each at its best step size, from the stated start.",
        "empirical",
        f"{PAPER}, illustration of l_p regression; the counts were measured for this check",
        ("X3",),
        toy_counts,
    ),
)
