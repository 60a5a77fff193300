"""Extreme Hessian eigenvalues against the dense Hessian: errors, honesty and products, with peers.

An MLP of about 7,000 parameters on 200 digits, at its start and at the edge of stability. Errors
are relative to the eigenvalue; "said" is the error that a method itself reports, relative too: a
residual, or here the bound on what was missed. Honesty: how often the truth lies outside of what
was reported, over many random starts.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np
from matfree import decomp, eig
from sklearn.datasets import load_digits
from timing import limit_threads, machine, options, show
from timing.torch_twin import Answer, installed, twin

import thalweg as tw
from thalweg import curvature

STEP = 0.3
SIDES = {"largest": ("LA", curvature.top_k), "smallest": ("SA", curvature.smallest)}


def checkpoints(problem: tw.problems.Supervised, steps: int) -> dict[str, Any]:
    """Parameters at the start and after descent into the edge of stability."""
    start = problem.init(jax.random.key(0))
    flat, unravel = jax.flatten_util.ravel_pytree(start)
    gradient = jax.grad(lambda t: problem.objective(unravel(t)))
    late = jax.jit(lambda t: jax.lax.fori_loop(0, steps, lambda _, t: t - STEP * gradient(t), t))
    return {"start": start, f"after {steps} steps": unravel(late(flat))}


def ours(H: curvature.Operator, side: str, k: int, seed: int) -> curvature.Eigenpairs:
    """Our pairs at default options."""
    return SIDES[side][1](H, k, jax.random.key(seed))


@eqx.filter_jit
def plain_lanczos(H: curvature.Operator, start: jax.Array, products: int) -> jax.Array:
    """matfree's Ritz values with full reorthogonalisation."""
    solve = eig.eigh_partial(decomp.tridiag_sym(products, reortho="full"))
    return solve(H.prepared(), start)[0]


def matfree(H: curvature.Operator, products: int, k: int, which: str, seed: int) -> Answer:
    """matfree's Lanczos; it says nothing of its error."""
    start = jax.random.normal(jax.random.key(seed), (H.shape[0],))
    found = np.sort(np.asarray(plain_lanczos(H, start, products)))
    chosen = found[:k] if which == "SA" else found[::-1][:k]
    return Answer(chosen, np.full(k, np.nan), products)


def row(name: str, answers: list[Answer], truth: np.ndarray) -> list[str]:
    """Worst over the starts."""
    errors = [np.max(np.abs(a.values - truth) / np.abs(truth)) for a in answers]
    said = [np.max(a.errors / np.abs(truth)) for a in answers]
    spent = [a.products for a in answers]
    told = "nothing" if np.isnan(said).all() else f"{max(said):.1e}"
    return [name, f"{max(errors):.1e}", told, f"{min(spent)} to {max(spent)}"]


def honesty(H: curvature.Operator, spectrum: np.ndarray, trials: int) -> list[str]:
    """How often the truth is outside: of [value, value + missed], of value +- residual."""
    outside = missed = 0
    for seed in range(trials):
        for side in SIDES:
            found = ours(H, side, 5, seed)
            truth = spectrum[::-1][:5] if side == "largest" else spectrum[:5]
            gap = (truth - np.asarray(found.values)) * (1 if side == "largest" else -1)
            rounding = 1e-11 * np.abs(spectrum).max()
            outside += bool(np.any(gap > np.asarray(found.missed)) or np.any(gap < -rounding))
            near = np.abs(spectrum[:, None] - np.asarray(found.values)).min(axis=0)
            missed += bool(np.any(near > np.asarray(found.residuals) + rounding))
    return [f"{2 * trials}", f"{outside}", f"{missed}"]


def main() -> None:
    """Print the tables."""
    asked = options(__doc__)
    limit_threads(asked.threads)
    print(machine(asked.threads))
    width, steps, trials = (12, 100, 2) if asked.quick else (52, 1000, 50)
    bundled = load_digits()
    x, y = bundled.data[:200] / 16, np.eye(10)[bundled.target[:200]]
    net = tw.models.mlp([width, width], "tanh")
    problem = tw.problems.supervised(net, (x - x.mean(0), y), "squared-error")
    peers, truthful = installed(), []
    for place, params in checkpoints(problem, steps).items():
        H = curvature.hessian(problem, params)
        spectrum = np.linalg.eigvalsh(np.asarray(H.dense()))
        edge = f"step x sharpness = {STEP * spectrum[-1]:.2f}"
        for side, k in (("largest", 1), ("largest", 5), ("smallest", 1)):
            which = SIDES[side][0]
            truth = spectrum[::-1][:k] if which == "LA" else spectrum[:k]
            mine = [ours(H, side, k, seed) for seed in range(5)]
            rows = [
                row(
                    "thalweg",
                    [
                        Answer(*(np.asarray(v) for v in (m.values, m.missed, m.products)))
                        for m in mine
                    ],
                    truth,
                )
            ]
            for products in (20, 40, 80):
                told = [matfree(H, products, k, which, seed) for seed in range(5)]
                rows.append(row(f"matfree, {products} products", told, truth))
            for name, peer in peers.items():
                if name == "PyHessian" and which == "SA":
                    continue  # it finds the largest in magnitude only
                told = [peer(twin(problem, params), k, which, seed) for seed in range(5)]
                rows.append(row(name, told, truth))
            title = f"{place} ({edge}), {len(spectrum)} parameters: {k} {side}, worst of 5 starts"
            show(title, ["method", "error", "said", "products"], rows)
        truthful.append([place, *honesty(H, spectrum, trials)])
    columns = ["5 largest and 5 smallest", "trials", "truth beyond the bound", "beyond residual"]
    show("honesty", columns, truthful)


if __name__ == "__main__":
    main()
