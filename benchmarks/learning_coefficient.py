"""Local learning coefficient: bias, spread, error and coverage for a number of gradients.

    python benchmarks/learning_coefficient.py [--quick] [--threads N]

Against exact Gibbs means by quadrature for (w1 w2)^2 and w1^2 + w2^4 (localisation 1), 100 seeds;
and of a trained net of digits, 64-20-10 with 1,510 weights, beside the mean of its quadratic model.
A value that its chain does not vouch for is refused, and counts as such. devinterp 1.3.2 is quoted
as it was measured elsewhere, with its own settings; it is not run here.
"""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize
from timing import limit_threads, machine, options, show

import thalweg as tw
from thalweg.probes.flatness.gibbs import Sampler, gibbs_means
from thalweg.theory.landscape.singular_models import gibbs_coefficient

MODELS = {
    "(w1 w2)^2": lambda x, y: (x * y) ** 2,
    "w1^2 + w2^4": lambda x, y: x**2 + y**4,
}
TEMPERATURES = (15.0, 145.0, 1e5)
# Chains, draws, leaps at most: what is spent.
BUDGETS = {"small": (16, 100, 64), "default": (16, 200, 256), "large": (32, 800, 512)}
COLUMNS = [
    "model, t, budget", "exact", "bias", "spread", "error", "within 2 errors", "refused",
    "gradients", "CPU s of all t",
]  # fmt: skip
IMAGES, ENOUGH = 256, 7e-4  # of the net: examples, and the loss at which its training ends
OF_THE_NET = ["t, localisation", "value", "quadratic", "R-hat", "draws", "gradients", "CPU s"]
QUOTED = """devinterp 1.3.2, quoted (measured elsewhere, its own settings; spread over seeds):
  (w1 w2)^2, true 1/2        defaults 0.24 +- 0.02; t = 1e5: 0.33 +- 0.03 (exact mean 0.427)
  w1^2 + w2^4, true 3/4      defaults 0.74; t = 1e5: 1.26 +- 0.04 (exact mean 0.750), no warning
  a trained net of digits    24.9 with a spread of 0.6; a chain ten times as long: 59.4"""


def measured(name: str, budget: str, seeds: int) -> tuple[list[list[str]], str]:
    """The rows of a model at all temperatures, and what was fitted to them."""
    loss, (chains, draws, leaps) = MODELS[name], BUDGETS[budget]
    problem = tw.problems.Function(lambda w: loss(w[0], w[1]), start=jnp.zeros(2))

    def run(seed: int) -> tw.probes.LearningCoefficients:
        key = jax.random.key(seed)
        return tw.probes.learning_coefficients(
            problem, problem.start, key, TEMPERATURES, 1.0, chains, draws, most_leaps=leaps
        )

    run(seeds)  # compiles
    begun = time.process_time()
    runs = [run(seed) for seed in range(seeds)]
    spent = (time.process_time() - begun) / seeds
    rows = []
    for i, t in enumerate(TEMPERATURES):
        exact = gibbs_coefficient(loss, t, 1.0)
        values, errors = (np.array([getattr(r, f)[i] for r in runs]) for f in ("values", "errors"))
        told = np.isfinite(values)
        off, error = values[told] - exact, errors[told]
        numbers = ["-"] * 3
        if told.any():
            numbers = [f"{np.mean(off):+.4f}", f"{np.std(off):.4f}", f"{np.mean(error):.4f}"]
        gradients = np.mean([r.gradients for r in runs]) / len(TEMPERATURES)
        rows.append([
            f"{name}, {t:g}, {budget}", f"{exact:.4f}", *numbers,
            f"{np.sum(np.abs(off) <= 2 * error)} of {np.sum(told)}", f"{seeds - np.sum(told)}",
            f"{gradients:,.0f}", f"{spent:.2f}",
        ])  # fmt: skip
    found = [r.coefficient for r in runs if r.multiplicity]
    counts = np.bincount([r.multiplicity for r in runs]).tolist()
    fit = f"lambda {np.mean(found):.4f}, spread {np.std(found):.4f}" if found else "no fit"
    return rows, f"{name}, {budget}: {fit}; multiplicity none, 1, 2, ...: {counts}"


def trained() -> tuple[tw.problems.Problem, np.ndarray, np.ndarray]:
    """Digits on 64-20-10, weights trained by L-BFGS up to a loss, and the gradient there."""
    problem = tw.problem("digits", samples=IMAGES, model="mlp:20")
    start, unravel = ravel_pytree(problem.init(jax.random.key(0)))
    slope = jax.jit(jax.value_and_grad(lambda w: problem.objective(unravel(w))))

    def enough(intermediate_result) -> None:
        if intermediate_result.fun < ENOUGH:
            raise StopIteration

    def objective(w: np.ndarray) -> list[np.ndarray]:
        return [np.asarray(a) for a in slope(jnp.asarray(w))]

    found = minimize(
        objective, np.asarray(start), jac=True, method="L-BFGS-B", callback=enough,
        options={"maxiter": 1000},
    )  # fmt: skip
    return problem, unravel(jnp.asarray(found.x)), np.asarray(slope(jnp.asarray(found.x))[1])


def quadratic_mean(H: np.ndarray, gradient: np.ndarray, t: float, g: float) -> float:
    """t E (f - f(theta)) of the quadratic model; NaN where it has no Gibbs measure."""
    h, V = np.linalg.eigh(H)
    stiff, slope = t * h + g, V.T @ gradient
    if stiff.min() <= 0:
        return np.nan
    shift = -t * slope / stiff
    return float(np.sum(t * (slope * shift + h * shift**2 / 2) + t * h / stiff / 2))


def net(draws: int) -> tuple[list[list[str]], str]:
    """The rows of the trained net at several temperatures and localisations, and what it is."""
    problem, params, gradient = trained()
    H = np.asarray(tw.curvature.hessian(problem, params).dense())
    h = np.linalg.eigvalsh(H)
    told = (
        f"a net of digits, {len(H)} weights: loss {float(problem.objective(params)):.2e}, gradient "
        f"{np.linalg.norm(gradient):.1e}, eigenvalues {h[0]:.1e} to {h[-1]:.1e}"
    )
    sampler = Sampler(16, draws)
    measure = jax.jit(lambda key, t, g: gibbs_means(problem, params, key, t, g, sampler))
    rows = []
    for scale in (1, 10, 100):
        for g in (1.0, 10.0, 100.0, 1000.0):
            t, begun = scale * IMAGES / np.log(IMAGES), time.process_time()
            found = measure(jax.random.key(0), jnp.asarray(t), jnp.asarray(g))
            seen = jax.tree.map(np.asarray, found)
            spent = time.process_time() - begun
            refused = "" if seen.rested else f" refused, virial {seen.virial:.1f}"
            rows.append([
                f"{t:.4g}, {g:g}", f"{seen.rise[0]:.3f} +- {seen.rise[1]:.3f}{refused}",
                f"{quadratic_mean(H, gradient, t, g):.3f}", f"{seen.r_hat:.3f}",
                f"{seen.size:.0f}", f"{seen.gradients:.2g}", f"{spent:.1f}",
            ])  # fmt: skip
    return rows, told


def main() -> None:
    asked = options(__doc__)
    limit_threads(asked.threads)
    budgets, seeds = (["small"], 3) if asked.quick else (list(BUDGETS), 100)
    found = [measured(name, budget, seeds) for name in MODELS for budget in budgets]
    title = f"{seeds} seeds; {machine(asked.threads)}"
    show(title, COLUMNS, [row for rows, _ in found for row in rows])
    rows, about = net(20 if asked.quick else 150)
    show(about, OF_THE_NET, rows)
    print("\n".join(["fitted over t:", *(fit for _, fit in found), QUOTED]))


if __name__ == "__main__":
    main()
