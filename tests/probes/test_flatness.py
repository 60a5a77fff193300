"""Measures of flatness: against closed forms, under reparametrisations, and their refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import special_ortho_group

import thalweg as tw
from thalweg.core.convergence import chain_mean, split_r_hat
from thalweg.core.errors import InputError
from thalweg.core.result import Result
from thalweg.probes import REPARAMETRISATIONS, FlatnessMeasure
from thalweg.probes.flatness.coefficient import fitted_coefficient
from thalweg.probes.flatness.entropy import clenshaw_curtis
from thalweg.probes.flatness.table import MEASURES
from thalweg.theory.landscape.entropic_quadratics import (
    quadratic_local_energy,
    quadratic_local_entropy,
)
from thalweg.theory.landscape.singular_models import gibbs_coefficient

H = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 0.5]])
W = jnp.array([1.0, -1.0, 0.5])


def bowl(w: Any = W) -> tw.problems.Function:
    """A quadratic in three parameters, given as two leaves."""

    def f(p: Any) -> Any:
        x = jnp.concatenate([p["a"], p["b"]])
        return x @ jnp.asarray(H) @ x / 2

    w = jnp.asarray(w, float)
    return tw.problems.Function(f, start={"a": w[:1], "b": w[1:]})


def measured(problem: Any, probe: Any, key: int = 0) -> tuple[np.ndarray, np.ndarray, Result]:
    value, error, result = tw.measure(problem, problem.start, probe, key)
    return np.asarray(value), np.asarray(error), Result(int(result))


class Sloped(tw.problems.Problem):
    """3 + <g, d> + d H d/2 about ones."""

    H: Any
    g: Any

    def init(self, key: Any) -> Any:
        return jnp.ones(len(self.g))

    def objective(self, params: Any) -> Any:
        d = params - 1
        return 3 + self.g @ d + d @ self.H @ d / 2


def top_of_ball(values: np.ndarray, g: np.ndarray, rho: float) -> float:
    """max sum g z + values z^2/2 over |z| <= rho, where a value is positive: |z| = rho."""
    if not g.any():
        return values.max() * rho**2 / 2
    low, high = values.max(), values.max() + np.linalg.norm(g) / rho
    for _ in range(200):
        mu = (low + high) / 2
        if mu in (low, high):
            break
        low, high = (mu, high) if np.linalg.norm(g / (mu - values)) > rho else (low, mu)
    z = g / (high - values)
    return float(g @ z + values @ z**2 / 2)


class TestAgainstClosedForms:
    def test_trace_and_pseudo_determinant(self) -> None:
        assert measured(bowl(), "hessian-trace")[0] == pytest.approx(np.trace(H), rel=1e-12)
        value, error, result = measured(bowl(), "log-pseudo-determinant")
        assert value == pytest.approx(math.log(np.linalg.det(H)), abs=max(float(error), 1e-14))
        assert result is Result.OK

    def test_a_rank_that_is_not_plain_is_not_told_as_one(self) -> None:
        blurred = tw.problems.Function(
            lambda x: jnp.sum(jnp.array([1.0, 1.5e-6, 0.9e-6]) * x**2), start=jnp.zeros(3)
        )
        assert measured(blurred, "log-pseudo-determinant")[2] is Result.NOT_CONVERGED

    def test_ascent_finds_the_top_of_the_ball(self) -> None:
        """At the minimum rho^2 lambda/2, where there is no gradient to go along."""
        top = np.linalg.eigvalsh(H)[-1]
        value, error, result = measured(bowl(jnp.zeros(3)), tw.probes.sam_sharpness(0.3, 60))
        assert value == pytest.approx(0.09 * top / 2, rel=1e-9)
        assert float(error) < 1e-6 * value
        assert result is Result.OK

    def test_ascent_climbs_at_saddles_and_within_the_ball(self) -> None:
        """Curved down harder than up, where plain steps fall; and a top inside the ball."""
        saddle = np.diag([4.0, 1.0, -7.0, -40.0])

        def f(w: Any) -> Any:
            return w @ jnp.asarray(saddle) @ w / 2

        problem = tw.problems.Function(f, start=jnp.zeros(4))
        value, error, result = measured(problem, tw.probes.sam_sharpness(0.05, 100))
        assert result is Result.OK
        assert abs(value - 0.05**2 * 4 / 2) < 1e-6 + float(error)
        hill = tw.problems.Function(lambda x: -jnp.sum((x - 0.1) ** 2), start=jnp.zeros(2))
        value, error, result = measured(hill, tw.probes.sam_sharpness(1.0, 60))
        assert result is Result.OK
        assert value == pytest.approx(2 * 0.1**2, abs=3 * float(error) + 1e-12)

    @pytest.mark.thorough
    @pytest.mark.parametrize("ratio", [1.0, 75.0, 1000.0])
    def test_downward_curvature_of_any_strength_hides_no_top(self, ratio: float) -> None:
        """Against the ball's exact top, by bisection in the eigenbasis; no gradient, little, much.

        By steps alone 9 of 60 such saddles of ratio 1000 were called OK at less than half the top.
        """
        probe, lam = tw.probes.sam_sharpness(), np.array([1.3, 0.9, 0.4, -0.2, -0.7, -1.0])
        lam = np.where(lam < 0, ratio * lam, lam)
        Q = special_ortho_group.rvs(6, random_state=np.random.default_rng(3))
        for size in (0.0, 0.003, 0.1):
            g = size * np.random.default_rng(1).normal(size=6)
            problem = Sloped(jnp.asarray((Q * lam) @ Q.T), jnp.asarray(Q @ g))
            value, error, result = tw.measure(problem, jnp.ones(6), probe)
            exact = top_of_ball(lam, g, 0.05)
            assert result == Result.OK
            assert -1e-9 * exact < exact - value < error + 1e-9 * exact
            assert error < 0.05 * exact

    @pytest.mark.slow
    def test_a_dense_spectrum_keeps_no_top_from_being_certain(self) -> None:
        """200 eigenvalues with none far from the next, gradients that all of them take part in.

        The top is found early; what it takes is to know that the largest eigenvalue is below the
        multiplier of the ball.
        """
        p, rng = 200, np.random.default_rng(7)
        wigner = rng.normal(size=(p, p))
        spectra = {
            0.3: 1 - np.linspace(0, 1, p) ** 0.3,
            0.03: np.linalg.eigvalsh((wigner + wigner.T) / (8 * p) ** 0.5),
        }
        Q = np.linalg.qr(rng.normal(size=(p, p)))[0]
        probe = tw.probes.sam_sharpness(rho=1.0)
        results = []
        for size, lam in spectra.items():
            g = rng.normal(size=p) * size / p**0.5
            problem = Sloped(jnp.asarray((Q * lam) @ Q.T), jnp.asarray(Q @ g))
            value, error, result = tw.measure(problem, jnp.ones(p), probe)
            exact = top_of_ball(lam, g, 1.0)
            assert -1e-9 * exact < exact - value < error + 1e-9 * exact
            results.append(int(result))
        assert results == [Result.OK, Result.OK]

    def test_the_error_of_a_slow_climb_holds_the_truth(self) -> None:
        """Two eigenvalues close by: the residual alone is 0 long before the top is found."""
        curved = jnp.asarray(H) + jnp.diag(jnp.array([0.0, 1.0, 1.5]))
        problem = tw.problems.Function(lambda x: x @ curved @ x / 2, start=jnp.zeros(3))
        truth = 0.05**2 / 2 * np.linalg.eigvalsh(np.asarray(curved))[-1]
        for key in range(5):
            value, error, _ = measured(problem, tw.probes.sam_sharpness(0.05, 12, 1), key)
            assert -1e-12 * truth <= truth - value <= 3 * error + 1e-12 * truth

    def test_a_single_step_is_that_of_sam(self) -> None:
        problem = bowl()
        value, error, _ = measured(problem, tw.probes.sam_sharpness(0.3, 1, 0))
        g = H @ W
        there = W + 0.3 * g / np.linalg.norm(g)
        assert value == pytest.approx(float(there @ H @ there / 2 - W @ H @ W / 2), rel=1e-12)
        assert float(error) > 0.001  # more steps would find more

    def test_adaptive_ascent_finds_the_top_of_its_ellipsoid(self) -> None:
        """At a minimum that is not at the origin: rho^2 times the top of |w| H |w|, halved."""
        shifted = tw.problems.Function(lambda x: (x - W) @ jnp.asarray(H) @ (x - W) / 2, start=W)
        scaled = np.abs(W)[:, None] * H * np.abs(W)[None]
        value, _, result = measured(shifted, tw.probes.adaptive_sharpness(0.3, 60))
        assert value == pytest.approx(0.09 * np.linalg.eigvalsh(scaled)[-1] / 2, rel=1e-9)
        assert result is Result.OK

    def test_local_energy_of_a_quadratic(self) -> None:
        exact = quadratic_local_energy(H, W, 0.3)
        value, error, _ = measured(bowl(), tw.probes.local_energy((0.3,), 20_000, pairs=True))
        assert abs(value[0] - exact) < 3 * error[0]
        assert error[0] < 0.02 * exact
        plain = measured(bowl(), tw.probes.local_energy((0.3,), 20_000))
        assert abs(plain[0][0] - exact) < 3 * plain[1][0]
        assert error[0] < plain[1][0] / 3  # what is odd in z is gone

    def test_additive_local_energy_is_the_trace(self) -> None:
        probe = tw.probes.local_energy((0.3,), 20_000, noise="additive", pairs=True)
        value, error, _ = measured(bowl(), probe)
        assert abs(value[0] - 0.045 * np.trace(H)) < 3 * error[0]

    def test_the_error_is_counted_of_examples(self) -> None:
        """By hand: wrong labels at w (1 + sigma z), z the probe's own, on all examples."""
        problem = tw.problems.digits(tw.models.mlp([5]), samples=30)
        params = problem.init(jax.random.key(0))
        probe = tw.probes.local_energy((0.5,), 5, draw=3)
        value, error, _ = tw.measure(problem, params, probe)
        labels = jnp.argmax(problem.targets, axis=1)
        flat, unravel = jax.flatten_util.ravel_pytree(params)

        def wrong(w: Any) -> float:
            return float(
                np.mean(np.asarray(jnp.argmax(problem.outputs(unravel(w)), axis=1) != labels))
            )

        keys = jax.random.split(jax.random.key(3), 5)
        z = [jax.random.normal(key, flat.shape, flat.dtype) for key in keys]
        rises = [wrong(flat * (1 + 0.5 * one)) - wrong(flat) for one in z]
        assert float(value[0]) == pytest.approx(np.mean(rises), abs=1e-12)
        assert float(error[0]) > np.std(rises, ddof=1) / math.sqrt(5)  # widened for few

    @pytest.mark.parametrize("gamma", [0.5, pytest.param(3.0, marks=pytest.mark.thorough)])
    def test_local_entropy_of_a_quadratic(self, gamma: float) -> None:
        exact = quadratic_local_entropy(H, W, 2.0, gamma) + 2.0 * float(W @ H @ W) / 2
        value, error, result = measured(bowl(), tw.probes.local_entropy(2.0, gamma, draws=400))
        assert result is Result.OK
        assert abs(value - exact) < 3 * error
        assert error < 0.05 * abs(exact) + 0.05

    def test_learning_coefficient_of_a_quadratic(self) -> None:
        """Half of sum t h/(t h + g), at the minimum."""
        t, g = 50.0, 1.0
        values = np.linalg.eigvalsh(H)
        exact = 0.5 * np.sum(t * values / (t * values + g))
        probe = tw.probes.learning_coefficient(t, g, draws=400)
        value, error, result = measured(bowl(jnp.zeros(3)), probe)
        assert result is Result.OK
        assert abs(value - exact) < 3 * error
        assert error < 0.05


MODELS: dict[str, tuple[Callable[[Any, Any], Any], float]] = {
    "product": (lambda x, y: (x * y) ** 2, 0.5),
    "sum": (lambda x, y: x**2 + y**4, 0.75),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", MODELS)
def test_singular_models_against_quadrature(name: str) -> None:
    loss, coefficient = MODELS[name]
    problem = tw.problems.Function(lambda x: loss(x[0], x[1]), start=jnp.zeros(2))
    found = tw.probes.learning_coefficients(
        problem, problem.start, jax.random.key(0), (15.0, 145.0, 1e5), 1.0, 32, 500, most_leaps=512
    )
    for t, value, error in zip(found.inverse_temperatures, found.values, found.errors, strict=True):
        assert abs(value - gibbs_coefficient(loss, t, 1.0)) < 3 * error
        assert error < 0.02
    assert found.multiplicity == {"product": 2, "sum": 1}[name]
    # The sum's means are still rising at t = 15: -1/4 of 1/log t is not in its law.
    assert abs(found.coefficient - coefficient) < 3 * found.error + 0.02


@pytest.mark.thorough
def test_on_a_slope_the_mean_is_negative_and_still_the_mean() -> None:
    """Under exp(-t x - t y^2/2 - g (x^2 + y^2)/2): E t x = -t^2/g, E t y^2/2 = t/(2 (t + g))."""
    slope, t, g = (
        tw.problems.Function(lambda z: z[0] + z[1] ** 2 / 2, start=jnp.zeros(2)),
        50.0,
        2.0,
    )
    value, error, result = measured(slope, tw.probes.learning_coefficient(t, localisation=g))
    assert result is Result.OK
    assert abs(value - (-(t**2) / g + t / (2 * (t + g)))) < 4 * error < 20


def test_few_draws_are_refused() -> None:
    """Chains that have just begun give no number, rather than one that is too low."""
    problem = tw.problems.Function(lambda x: (x[0] * x[1]) ** 2, start=jnp.zeros(2))
    probe = tw.probes.learning_coefficient(1e5, 1.0, chains=16, draws=20, warm_up=5, most_leaps=8)
    value, error, result = measured(problem, probe)
    assert result is Result.NOT_CONVERGED
    assert np.isnan(value)
    assert np.isinf(error)


def test_the_law_is_fitted_to_means_that_follow_it() -> None:
    times = np.array([1e2, 1e3, 1e4, 1e5])
    exact = 0.5 - 1 / (np.log(times) + 2.2)
    coefficient, error, m = fitted_coefficient(times, exact, np.full(4, 1e-3))
    assert m == 2
    assert abs(coefficient - 0.5) < error
    coefficient, error, m = fitted_coefficient(times, np.full(4, 0.75), np.full(4, 1e-3))
    assert (m, coefficient) == (1, pytest.approx(0.75))
    assert error == pytest.approx(5e-4)
    assert fitted_coefficient(times, np.array([0.1, 5.0, 0.1, 5.0]), np.full(4, 1e-3))[2] == 0
    assert math.isnan(fitted_coefficient(times, np.array([0.1, np.nan, 1, 1]), np.ones(4))[0])


def test_quadrature_is_exact_for_its_degree() -> None:
    u, fine, coarse = clenshaw_curtis(8)
    for k in range(1, 9):
        assert fine @ u**k == pytest.approx(1 / (k + 1), rel=1e-12)
    for k in range(1, 5):
        assert coarse @ u**k == pytest.approx(1 / (k + 1), rel=1e-12)
    assert np.count_nonzero(np.abs(coarse) > 1e-12) == 4


class TestConvergence:
    def test_chains_at_rest(self) -> None:
        """An autoregressive process of known mean and effective size, in 2,000 chains' worth."""
        rng, rho, n, m = np.random.default_rng(0), 0.8, 400, 32
        x = np.zeros((n, m))
        x[0] = rng.normal(size=m)
        for k in range(1, n):
            x[k] = rho * x[k - 1] + math.sqrt(1 - rho**2) * rng.normal(size=m)
        mean, error, size = (float(v) for v in chain_mean(jnp.asarray(x)))
        assert abs(mean) < 3 * error
        assert size == pytest.approx(n * m * (1 - rho) / (1 + rho), rel=0.6)
        assert float(split_r_hat(jnp.asarray(x))) < 1.05

    def test_chains_apart_adrift_or_of_other_widths_are_seen(self) -> None:
        rng = np.random.default_rng(1)
        x = rng.normal(size=(200, 8))
        assert float(split_r_hat(jnp.asarray(x))) < 1.03
        assert float(split_r_hat(jnp.asarray(x + 2 * (np.arange(8) == 0)))) > 1.05
        assert float(split_r_hat(jnp.asarray(x + np.linspace(0, 2, 200)[:, None]))) > 1.05
        assert float(split_r_hat(jnp.asarray(x * np.where(np.arange(8) < 4, 1, 3)))) > 1.05

    def test_what_never_moved_is_at_rest_only_in_one_place(self) -> None:
        assert float(split_r_hat(jnp.zeros((10, 4)))) == 1
        assert math.isinf(float(split_r_hat(jnp.zeros((10, 4)) + jnp.arange(4.0)[None])))


class InOtherParameters(tw.problems.Problem):
    """f(A u + shift): one program for all maps."""

    A: Any
    shift: Any
    start: Any

    def init(self, key: Any) -> Any:
        return self.start

    def objective(self, u: Any) -> Any:
        return quartic(self.A @ u + self.shift)


def quartic(x: Any) -> Any:
    """No quadratic, no symmetry, away from its minimum and with no entry at 0."""
    return x @ jnp.asarray(H) @ x / 2 + x[0] ** 4 + (x[1] * x[2]) ** 2


def reparametrised(kind: str) -> InOtherParameters:
    """f(T(u)) and T^-1(theta) as its start, for a map T of the kind."""
    theta = jnp.array([0.7, -0.4, 0.9])
    rng, p = np.random.default_rng(5), theta.size
    shift = jnp.asarray(rng.normal(size=p)) if kind == "translation" else jnp.zeros(p)
    A = {
        "none": np.eye(p),
        "translation": np.eye(p),
        "permutation": np.eye(p)[rng.permutation(p)],
        "rotation": special_ortho_group.rvs(p, random_state=rng),
        "rescaling": np.diag(np.exp(rng.normal(size=p))),
    }[kind]
    return InOtherParameters(jnp.asarray(A), shift, jnp.linalg.solve(jnp.asarray(A), theta - shift))


CONTRACT: dict[str, FlatnessMeasure] = {
    "hessian-trace": tw.probes.hessian_trace(),
    "log-pseudo-determinant": tw.probes.log_pseudo_determinant(),
    "sharpness": tw.probes.sharpness(tolerance=1e-8),
    "sam-sharpness": tw.probes.sam_sharpness(0.2, 200),
    "adaptive-sharpness": tw.probes.adaptive_sharpness(0.2, 200),
    "local-energy": tw.probes.local_energy((0.3,), 20_000, "loss", pairs=True),
    "additive local energy": tw.probes.local_energy((0.3,), 20_000, "loss", "additive", True),
    "local-entropy": tw.probes.local_entropy(2.0, 1.0, draws=1000),
    "learning-coefficient": tw.probes.learning_coefficient(20.0, 1.0, draws=1000),
}


def test_every_measure_of_the_table_is_held_to_what_it_declares() -> None:
    assert set(MEASURES) <= set(CONTRACT)
    for name, maker in MEASURES.items():
        assert type(maker()) is type(CONTRACT[name])


@pytest.mark.thorough(after=2)
@pytest.mark.parametrize("name", CONTRACT)
def test_what_is_declared_leaves_it_unchanged_and_the_rest_does_not(name: str) -> None:
    probe = CONTRACT[name]
    assert set(probe.unchanged_by) <= set(REPARAMETRISATIONS)
    here = measured(reparametrised("none"), probe)
    assert here[2] is Result.OK
    for kind in REPARAMETRISATIONS:
        value, error, _ = measured(reparametrised(kind), probe, key=1)
        apart = np.max(np.abs(value - here[0]) - 3 * np.hypot(error, here[1]))
        same = bool(apart <= 1e-9 * np.max(np.abs(here[0])))
        assert same == (kind in probe.unchanged_by), (kind, here, value, error)


class TestReluUnits:
    """E11: rescaling a hidden unit leaves the net and its local energy as they are, z by z."""

    def rescaled(self) -> tuple[Any, Any, Any]:
        problem = tw.problems.digits(tw.models.mlp([6, 5], "relu"), samples=40)
        params = problem.init(jax.random.key(0))
        c = jnp.asarray(np.exp(np.random.default_rng(0).normal(size=6)))
        first, second = params[0], params[1]
        other = [
            {"weight": first["weight"] * c[:, None], "bias": first["bias"] * c},
            {**second, "weight": second["weight"] / c[None]},
            *params[2:],
        ]
        np.testing.assert_allclose(
            problem.outputs(params), problem.outputs(other), rtol=1e-12, atol=1e-12
        )
        return problem, params, other

    @pytest.mark.parametrize(
        "quantity", ["error", pytest.param("loss", marks=pytest.mark.thorough)]
    )
    def test_multiplicative_noise_does_not_see_it(self, quantity: str) -> None:
        problem, params, other = self.rescaled()
        probe = tw.probes.local_energy((0.3, 0.6), 20, quantity)
        one, two = (tw.measure(problem, p, probe).value for p in (params, other))
        np.testing.assert_allclose(one, two, rtol=1e-10, atol=1e-12)
        additive = tw.probes.local_energy((0.3, 0.6), 20, "loss", "additive")
        one, two = (tw.measure(problem, p, additive).value for p in (params, other))
        assert np.max(np.abs(one - two)) > 0.01

    @pytest.mark.thorough
    def test_adaptive_ascent_does_not_see_it(self) -> None:
        problem, params, other = self.rescaled()
        probe = tw.probes.adaptive_sharpness(0.1, 5, 0)
        one, two = (float(tw.measure(problem, p, probe).value) for p in (params, other))
        assert one == pytest.approx(two, rel=1e-9)
        plain = tw.probes.sam_sharpness(0.1, 5, 0)
        one, two = (float(tw.measure(problem, p, plain).value) for p in (params, other))
        assert abs(one - two) > 0.01 * one


class TestTable:
    def test_prints_what_is_measured_and_why_the_rest_is_not(self) -> None:
        problem = bowl(jnp.zeros(3))
        chosen = ["hessian-trace", "sam_sharpness", tw.probes.local_energy((0.1, 0.2)), "llc"]
        with pytest.raises(InputError, match="unknown measure of flatness 'llc'"):
            tw.flatness(problem, problem.start, measures=chosen)
        table = tw.flatness(problem, problem.start, measures=[*chosen[:3], "learning-coefficient"])
        assert table["hessian-trace"].value == pytest.approx(np.trace(H))
        assert table["local energy, sigma 0.2"].unit == "loss"
        row = table["local learning coefficient"]
        assert math.isnan(row.value)
        assert row.gradients == 0
        assert row.says.startswith("not measured: the inverse temperature n/log n needs")
        text = str(table)
        assert len(text.splitlines()) == 1 + 5 + 1
        assert "no number" in text
        assert "3.5" in text
        assert "<table>" in table._repr_html_()
        assert "no number" in table._repr_html_()

    def test_unconverged_chains_have_no_number_and_say_so(self) -> None:
        problem = tw.problems.Function(lambda x: (x[0] * x[1]) ** 2, start=jnp.zeros(2))
        probe = tw.probes.learning_coefficient(1e5, 1.0, 4, 8, 2, 4)
        row = tw.flatness(problem, problem.start, measures=probe).rows[0]
        assert math.isnan(row.value)
        assert "have not come to rest" in row.says
        assert row.gradients > 0

    def test_a_point_that_is_not_finite_is_told_as_one(self) -> None:
        problem = bowl([math.nan, 1.0, 1.0])
        probes = [tw.probes.sam_sharpness(0.1, 2, 0), tw.probes.local_energy((0.1,), 2)]
        table = tw.flatness(problem, problem.start, np.int64(3), probes)
        assert all(row.says.startswith("not finite: the objective or") for row in table.rows)
        with pytest.raises(InputError, match="measures came as an empty list"):
            tw.flatness(problem, problem.start, measures=[])
