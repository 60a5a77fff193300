"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.dynamics.end_to_end_rule import end_to_end_descent
from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.studies.arora2018_implicit_acceleration import STUDY, exact, regression
from thalweg.theory.linear_nets import end_to_end

LAB = Lab(progress=False)


@pytest.fixture
def fault(monkeypatch):
    """A function that replaces `place.name` by wrong(right, *arguments)."""

    def plant(place, name, wrong):
        right = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, **k: wrong(right, *a, **k))

    return plant


def word(claim, **found):
    results = {name.replace("_", "-"): data for name, data in found.items()}
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], results)
    return verdict.word


def cases(table, fast):
    """The first faults of a table, and the others among the slow tests."""
    later = [pytest.param(name, marks=pytest.mark.slow) for name in list(table)[fast:]]
    return [*list(table)[:fast], *later]


def decay_without_depth(right, W, G, N, decay=0.0):
    return right(W, G, N, decay / N)


def no_decay(right, W, G, N, decay=0.0):
    return right(W, G, N)


def ascent(right, W, G, N, decay=0.0):
    return right(W, -G, N, decay)


def doubled(right, W, G, N, decay=0.0):
    return right(W, 2 * G, N, decay)


def other_depth(right, W, G, N, *rest):
    return right(W, G, N + 1, *rest)


def halved_exponents(right, W, G, N):
    """sigma^p in place of sigma^(2p)."""
    U, s, Vt = jnp.linalg.svd(W, full_matrices=False)
    return right((U * jnp.sqrt(s)) @ Vt, G, N)


def a_term_missing(right, W, G, N):
    """Without j = 1, G [W^T W]^((N-1)/N)."""
    _, s, Vt = jnp.linalg.svd(W, full_matrices=False)
    return right(W, G, N) - ((G @ Vt.T) * s ** (2 * (N - 1) / N)) @ Vt


def tilted(right, W, N, width, key):
    """The right product of unbalanced factors."""
    low, *middle, top = right(W, N, width, key)
    return [(1 + 0.1 * width) * low, *middle, top / (1 + 0.1 * width)]


C1 = {
    "factor N of the decay left out": (end_to_end, "end_to_end_velocity", decay_without_depth),
    "halved exponents": (end_to_end, "end_to_end_field", halved_exponents),
    "not balanced": (exact, "balanced_factors", tilted),
    "no decay": (end_to_end, "end_to_end_velocity", no_decay),
    "sign": (end_to_end, "end_to_end_velocity", ascent),
    "factor 2": (end_to_end, "end_to_end_velocity", doubled),
    "another depth": (end_to_end, "end_to_end_field", other_depth),
    "a term missing": (end_to_end, "end_to_end_field", a_term_missing),
}


@pytest.mark.parametrize("name", cases(C1, 3))
def test_c1_fails(fault, monkeypatch, name):
    monkeypatch.setattr(exact, "TIMES", np.linspace(0, 0.2, 3))
    fault(*C1[name])
    assert word("C1", X1=exact.flows_of([(2, 3, 3, 2)], 1)) == "not reproduced"


@pytest.mark.slow
def test_unbalanced_factors_alone_break_c1(fault, monkeypatch):
    monkeypatch.setattr(exact, "TIMES", np.linspace(0, 0.2, 3))
    fault(exact, "balanced_factors", tilted)
    found = exact.flows_of([(2, 3, 3, 2)], 1)
    assert word("C1", X1=found.assign(gap=0 * found["gap"])) == "not reproduced"


def test_c7_fails(fault, monkeypatch):
    monkeypatch.setattr(exact, "TIMES", np.linspace(0, 0.2, 3))
    monkeypatch.setattr(exact, "WIDTHS", (3, 4))
    fault(exact, "balanced_factors", tilted)
    assert word("C7", X1_widths=exact.widths(LAB)) == "not reproduced"


def row_major(right, W, N):
    k, d = W.shape
    return right(W, N).reshape(d, k, d, k).transpose(1, 0, 3, 2).reshape(k * d, k * d)


def projectors(right, W, N):
    """The power 0 as the projector on the range, in place of the identity."""
    _, _, Vt = np.linalg.svd(W, full_matrices=True)
    outside = np.eye(W.shape[1]) - Vt[: W.shape[0]].T @ Vt[: W.shape[0]]
    U, s, _ = np.linalg.svd(W)
    last = (U * s ** (2 * (N - 1) / N)) @ U.T
    return right(W, N) - np.kron(outside, last)


def half_the_power(right, W, N):
    found = right(W, N)
    return found._replace(values=jnp.sqrt(found.values))


def unpadded(right, W, N):
    found = right(W, N)
    rank = min(W.shape)
    return found._replace(values=found.values.at[:, rank:].set(0).at[rank:].set(0))


def swapped_vectors(right, W, N):
    found = right(W, N)
    return found._replace(V=found.V[:, ::-1])


C2 = {
    "row-major": (end_to_end, "preconditioner", row_major),
    "projector for identity": (end_to_end, "preconditioner", projectors),
    "sign": (end_to_end, "preconditioner", lambda right, *a: -right(*a)),
    "a term missing in the rule": (end_to_end, "end_to_end_field", a_term_missing),
    "root of eigenvalues": (end_to_end, "preconditioner_spectrum", half_the_power),
    "0^0 = 0": (end_to_end, "preconditioner_spectrum", unpadded),
    "vectors in another order": (end_to_end, "preconditioner_spectrum", swapped_vectors),
}


@pytest.mark.parametrize("name", C2)
def test_c2_fails(fault, monkeypatch, name):
    monkeypatch.setattr(exact, "SHAPES", ((3, 4),))
    monkeypatch.setattr(exact, "DEPTHS", (3,))
    fault(*C2[name])
    assert word("C2", preconditioner=exact.preconditioner(LAB)) == "not reproduced"


def n_projections(right, w, g, N):
    return right(w, g, N) + jnp.linalg.norm(w) ** (-2 / N) * w * (w @ g)


def no_projection(right, w, g, N):
    return jnp.linalg.norm(w) ** (2 - 2 / N) * g


def other_power(right, w, g, N):
    return right(w, g, N) * jnp.linalg.norm(w) ** (1 / N)


def without_last_term(right, w, factor, g, step_size):
    return right(w, factor, g, step_size) - step_size**2 * (w @ g) * g


def momentum_sign(right, w, factor, g, step_size):
    return right(w, factor, g, step_size) + 2 * step_size / factor**2 * (w @ g) * w


C3 = {
    "N projections": (end_to_end, "single_output_rule", n_projections),
    "no projection": (end_to_end, "single_output_rule", no_projection),
    "exponent 2 - 1/N": (end_to_end, "single_output_rule", other_power),
    "E8 to first order": (end_to_end, "scalar_factor_step", without_last_term),
    "E8, sign of the momentum": (end_to_end, "scalar_factor_step", momentum_sign),
}


@pytest.mark.parametrize("name", C3)
def test_c3_fails(fault, name):
    fault(*C3[name])
    found = exact.single_output(LAB)
    assert word("C3", single_output=found) == "not reproduced"


def open_curve(right, *a):
    return right(*a)[:3]


def backwards(right, *a):
    return [lambda t, piece=piece: piece(1 - t) for piece in right(*a)[::-1]]


C4 = {
    "no projection": (end_to_end, "single_output_rule", no_projection),
    "N projections": (end_to_end, "single_output_rule", n_projections),
    "exponent 2 - 1/N": (end_to_end, "single_output_rule", other_power),
    "a curve that is open": (end_to_end, "gamma_curve", open_curve),
    "backwards": (end_to_end, "gamma_curve", backwards),
    "closed form for N + 1": (
        end_to_end, "constant_gradient_integral",
        lambda right, slope, N, *a: right(slope, N + 1, *a),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", cases(C4, 3))
def test_c4_fails(fault, monkeypatch, name):
    monkeypatch.setattr(exact, "INTEGRAL_DEPTHS", (2, 3, 4, 8))
    fault(*C4[name])
    assert word("C4", integral=exact.integrals(LAB)) == "not reproduced"


C5 = {
    "depth 3": (end_to_end, "single_output_rule", lambda right, w, g, N: right(w, g, 3)),
    "N projections": (end_to_end, "single_output_rule", n_projections),
    "half of the Jacobian": (
        end_to_end, "jacobian_asymmetry", lambda right, field, w: jnp.zeros(())
    ),
    "J + J^T": (
        end_to_end, "jacobian_asymmetry",
        lambda right, field, w: jnp.max(jnp.abs(jax.jacfwd(field)(w))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", C5)
def test_c5_fails(fault, name):
    fault(*C5[name])
    assert word("C5", asymmetry=exact.tilts(LAB)) == "not reproduced"


def depth_two(step_size):
    return end_to_end_descent(step_size, 2)


def twice_the_step(step_size):
    return end_to_end_descent(2 * step_size, 3)


def decaying(step_size):
    return end_to_end_descent(step_size, 3, 0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        depth_two,
        pytest.param(twice_the_step, marks=pytest.mark.slow),
        pytest.param(decaying, marks=pytest.mark.slow),
    ],
)
def test_c6_fails(monkeypatch, wrong):
    monkeypatch.setattr(exact, "DRAWS", 1)
    monkeypatch.setattr(exact, "depth_three", wrong)
    assert word("C6", X1_steps=exact.descents(LAB)) == "not reproduced"


# Regression: one draw, every method at the rate that is best with fourth powers.


BEST = {"depth 1": 11, "depth 2": 12, "depth 3": 12, "AdaGrad": 10}
METHODS = {
    name: method._replace(settings=method.settings[[BEST[name]]])
    for name, method in (regression.DESCENTS | regression.BASELINES).items()
    if name in BEST
}


@pytest.fixture(scope="module")
def quartic():
    """One draw of the data: a part that reproduces the claim."""
    return regression.regression(4, METHODS, 1, 20_000)


def relabelled(data, **names):
    """The data of one optimiser under the name of another."""
    swap = {name.replace("_", " "): other.replace("_", " ") for name, other in names.items()}
    labels = data["optimiser"].values
    return data.sel(optimiser=[swap.get(n, n) for n in labels]).assign_coords(optimiser=labels)


def test_depth_is_what_accelerates(quartic):
    assert word("C8", X2_l4=quartic) == "reproduced"
    for wrong in (
        relabelled(quartic, depth_2="depth_1"),
        relabelled(quartic, depth_3="depth_1"),
        relabelled(quartic, depth_1="depth_3"),
        relabelled(quartic, AdaGrad="depth_3"),
    ):
        assert word("C8", X2_l4=wrong) == "not reproduced"


def test_the_fourth_power_breaks_the_claim_about_squares(quartic):
    assert word("C9", X2_l2=quartic) == "not reproduced"


def squares(right, X, y, p, *rest, **options):
    return right(X, y, 2, *rest, **options)


def test_squares_break_the_claim_about_the_fourth_power(fault):
    fault(regression, "lp_regression", squares)
    fault(regression, "lp_optimum", squares)
    found = regression.regression(4, METHODS, 1, 5000)
    assert word("C8", X2_l4=found) == "not reproduced"


C10 = {
    "start twice as far": ("balanced", lambda right, product, depth: right(2 * product, depth)),
    "mean for sum": ("lp_regression", lambda right, *a, reduction: right(*a)),
    "p for p": ("lp_regression", lambda right, X, y, p, *a, **k: right(X, y, 6 - p, *a, **k)),
    "one update too many": ("steps_to", lambda right, *a: right(*a) + 1),
}


@pytest.mark.parametrize("name", cases(C10, 1))
def test_c10_fails(fault, name):
    fault(regression, *C10[name])
    assert word("C10", X3=regression.toy(LAB)) == "not reproduced"
