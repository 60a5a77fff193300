"""What the study of implicit acceleration checks, on the tables of its experiments alone."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near
from thalweg.lab.claims import claim

PAPER = "Arora, Cohen and Hazan (2018)"
INTEGRALS = {2: 0.0, 3: 2.260604, 4: 5.019855, 8: 17.296284}
UPDATES = [[2780, 729, 243], [1, 10, 26]]  # p = 4 and p = 2 by depth 1, 2, 3
BEST_QUARTIC = [-1.75, -2.25, -2.125]  # log10 of the step sizes of these


@claim("C1", kind="exact", source=f"{PAPER}, Theorem 1 (E1 to E3)")
def product_follows_the_rule(X1: xr.Dataset) -> Check:
    """Under gradient flow from balanced matrices, weight decay included, their product moves by a
    rule that knows the product and the depth alone, and the matrices stay balanced.

    Falsified by: a product more than 1e-9 off the rule's, or a balance defect above 1e-12.
    """
    return all_of(
        near(X1["gap"], 0, absolute=1e-9, what="product of the factors less the rule"),
        near(X1["defect"], 0, absolute=1e-12, what="balance defect"),
    )


@claim("C2", kind="exact", source=f"{PAPER}, Claim 1 (E5, E6)")
def preconditioner_is_the_rule(preconditioner: xr.Dataset) -> Check:
    """The rule multiplies the gradient by a positive semidefinite matrix, whose eigenvectors are
    products of the singular vectors of the current W and whose eigenvalues are sums of powers of
    its singular values.

    Falsified by: an entry of P vec(G) or of P v more than 1e-12 off the rule or the eigenvalue's
    multiple, or an eigenvalue of P below 0.
    """
    action, pairs = preconditioner["action_gap"], preconditioner["pair_gap"]
    return all_of(
        near(action, 0, absolute=1e-12, what="P vec(G) less the rule (shape, depth)"),
        near(pairs, 0, absolute=1e-12, what="P v less eigenvalue v (shape, depth)"),
        above(preconditioner["least"], 0, what="least eigenvalue of P (shape, depth)"),
    )


@claim("C3", kind="exact", source=f"{PAPER}, Claim 2 and the depth-2 example (E7, E8)")
def single_output_is_a_special_case(single_output: xr.Dataset) -> Check:
    """For one output the rule is an adaptive step size and a projection on w; with one scalar
    factor a step of descent is, exactly, a step with momentum and a term in the squared step size.

    Falsified by: a difference of the two rules above 1e-12, or of the two steps on a scalar factor
    above 1e-14.
    """
    rules, steps = single_output["gap"], single_output["scalar_gap"]
    return all_of(
        near(rules, 0, absolute=1e-12, what="rule for one output less the general (draw, N)"),
        near(steps, 0, absolute=1e-14, what="step on a scalar factor (seed)"),
    )


@claim("C4", kind="exact", source=f"{PAPER}, Theorem 2; the constant is derived here (E9, E10)")
def integral_is_not_zero(integral: xr.Dataset) -> Check:
    """From depth 3 on the rule is the gradient of no function: its integral along a closed curve is
    not zero.

    Falsified by: an integral more than 1e-8 off the closed form, which is not 0 from depth 3 on.
    """
    found = integral["integral"]
    stated, expected = found.sel(depth=list(INTEGRALS)), list(INTEGRALS.values())
    return all_of(
        near(found, integral["integral_theory"], absolute=1e-8, what="integral by depth"),
        near(stated, expected, absolute=5e-7, what="stated values, six decimals"),
    )


@claim(
    "C5",
    kind="exact",
    source=f"{PAPER}, Theorem 2 asks for depth above 2; the exception is derived here",
)
def depth_two_is_the_border(asymmetry: xr.Dataset) -> Check:
    """At depth 2 it is a gradient for linear losses and for isotropic squares, not for other
    squares.

    Falsified by: a rule more than 1e-12 off the gradient of its potential, an asymmetry of its
    Jacobian above 1e-8 for Q = I, or one below 0.01 for Q = diag(1, 2, 3, 4).
    """
    linear, generic = asymmetry["potential_gap"], asymmetry["generic"]
    return all_of(
        near(linear, 0, absolute=1e-12, what="linear loss: rule less its potential"),
        above(generic, 0.01, what="asymmetry, Q = diag(1, 2, 3, 4) (draw)"),
        near(asymmetry["isotropic"], 0, absolute=1e-8, what="asymmetry, Q = I (draw)"),
    )


@claim("C6", kind="asymptotic", source=f"{PAPER}, end-to-end update rule (E4)")
def descent_differs_by_the_step_size(X1_steps: xr.Dataset) -> Check:
    """Descent on the factors and the rule in steps part in proportion to the step size.

    Falsified by: a draw whose slope of log distance in log step size is outside 0.9 to 1.1.
    """
    return near(X1_steps["slope"], 1, absolute=0.1, what="slope by draw")


@claim("C7", kind="exact", source=f"{PAPER}, Theorem 1")
def widths_do_not_matter(X1_widths: xr.Dataset) -> Check:
    """The path of the product does not depend on the hidden widths.

    Falsified by: products of two widths that are more than 1e-8 apart.
    """
    return near(X1_widths["gap"], 0, absolute=1e-8, what="distance by width")


@claim(
    "C8", kind="empirical", source=f"{PAPER}, experiments with the l_4 loss", paper_size_at="none"
)
def depth_accelerates_quartic_loss(X2_l4: xr.Dataset) -> Check:
    """In regression with the fourth power of the error one or two scalar factors make descent
    several times faster than it is without them, and than AdaGrad.

    Falsified by: a draw where depth 2 needs more than 0.6 or depth 3 more than 0.4 of the steps of
    depth 1, or where either ends less than 3 times below depth 1 or AdaGrad.
    """
    steps, final = X2_l4["steps"], X2_l4["final"]
    plain = steps.sel(optimiser="depth 1")
    two, three = (steps.sel(optimiser=name) / plain for name in ("depth 2", "depth 3"))
    slow = final.sel(optimiser=["depth 1", "AdaGrad"])
    gains = [slow / final.sel(optimiser=name, drop=True) for name in ("depth 2", "depth 3")]
    return all_of(
        below(two, 0.6, what="steps of depth 2 / of depth 1 (draw)"),
        below(three, 0.4, what="steps of depth 3 / of depth 1 (draw)"),
        above(np.stack(gains), 3, what="last excess of depth 1, AdaGrad / of depths 2, 3"),
    )


@claim(
    "C9", kind="empirical", source=f"{PAPER}, experiments with the l_2 loss", paper_size_at="none"
)
def depth_does_not_accelerate_squares(X2_l2: xr.Dataset) -> Check:
    """With squared errors they do not.

    Falsified by: a draw where depth 2 or 3 needs less than 0.8 of the steps of depth 1.
    """
    steps = X2_l2["steps"]
    ratio = steps.sel(optimiser=["depth 2", "depth 3"]) / steps.sel(optimiser="depth 1", drop=True)
    return above(ratio, 0.8, what="steps of depths 2, 3 / of depth 1 (draw, depth)")


@claim(
    "C10",
    kind="empirical",
    source=f"{PAPER}, illustration of l_p regression; the counts were measured for this check",
)
def toy_counts(X3: xr.Dataset) -> Check:
    """Two targets of 10 and 1 take 2780, 729 and 243 updates at depths 1, 2 and 3 with fourth
    powers, and 1, 10 and 26 with squares, each at its best step size, from the stated start.

    Falsified by: another count of updates, or another best step size.
    """
    quartic, one_step = X3["best"].sel(p=4), X3["best"].sel(p=2, depth=1)
    return all_of(
        near(X3["fewest"], UPDATES, absolute=0.5, what="updates (p, depth)"),
        near(quartic, BEST_QUARTIC, absolute=1e-9, what="log10 of the rate, p = 4"),
        near(one_step, 0, absolute=1e-9, what="log10 of the rate, p = 2, N = 1"),
    )
