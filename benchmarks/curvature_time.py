"""Time of Hessian products and Lanczos steps, as ratios within one run.

Products are held against a gradient of the same problem and against the ratio of their operation
counts as XLA counts them; 30 Lanczos steps against curvlinops under ARPACK with 30 products.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np
import torch
from timing import clock_for, interleaved, limit_threads, machine, options, show
from timing.torch_twin import Twin, twin

import thalweg as tw
from thalweg.core.hessian_product import hessian_product
from thalweg.core.lanczos import tridiagonalise

REPEAT = 20  # products and gradients in one timed call
CONV = tw.models.parse_model("conv:8k3p1-16k3s2p1/32", "tanh")


def digits(net: tw.models.Model, n: int, precision: str) -> tw.problems.Supervised:
    """Digits as the net takes them: images for convolutions."""
    return tw.problems.digits(
        net, "cross-entropy", samples=n, precision=precision, image=net is CONV
    )


def problems(quick: bool) -> dict[str, tw.problems.Supervised]:
    """What products are timed on."""
    n = 50 if quick else 500
    nets = {
        "MLP 64-64": (tw.models.mlp([64, 64], "tanh"), ("float64", "float32")),
        "conv 8-16": (CONV, ("float32",)),
    }
    return {
        f"{name}, {kind}": digits(net, n, kind)
        for name, (net, kinds) in nets.items()
        for kind in kinds
    }


def flops(function: Callable[..., Any], *arguments: Any) -> float:
    """Floating-point operations by XLA's count."""
    counted = jax.jit(function).lower(*arguments).compile().cost_analysis()
    return float(counted["flops"])  # type: ignore[index,call-overload]


def medians(work: dict[str, Callable[[], object]], rounds: int, threads: int) -> dict[str, float]:
    """Median seconds of each contestant, in turn."""
    return {
        k: statistics.median(v) for k, v in interleaved(work, rounds, clock_for(threads)).items()
    }


def products(quick: bool, threads: int) -> list[list[str]]:
    """A product over a gradient; the gradient that is linearised is shared by all products."""
    rows = []
    for name, problem in problems(quick).items():
        theta, unravel = jax.flatten_util.ravel_pytree(problem.init(jax.random.key(0)))

        def gradient(t: jax.Array, p: Any = problem, u: Any = unravel) -> jax.Array:
            return jax.grad(lambda t: p.objective(u(t)))(t)

        def product(t: jax.Array, v: jax.Array, g: Any = gradient) -> jax.Array:
            return jax.jvp(g, (t,), (v,))[1]

        def gradients(t: jax.Array, g: Any = gradient) -> jax.Array:
            return jax.lax.fori_loop(0, REPEAT, lambda _, t: t - 1e-9 * g(t), t)

        def many(t: jax.Array, v: jax.Array, p: Any = problem, u: Any = unravel) -> jax.Array:
            map_ = hessian_product(p.objective, u(t))
            return jax.lax.fori_loop(0, REPEAT, lambda _, v: v / 2 + 1e-9 * map_(v), v)

        timed_gradients, timed_products = jax.jit(gradients), jax.jit(many)
        work = {
            "gradient": lambda f=timed_gradients, t=theta: f(t).block_until_ready(),
            "product": lambda f=timed_products, t=theta: f(t, t).block_until_ready(),
        }
        seconds = medians(work, 2 if quick else 7, threads)
        counts = flops(product, theta, theta) / flops(gradient, theta)
        rows.append(
            [
                f"{name}, {theta.size} parameters",
                f"{seconds['gradient'] / REPEAT * 1e3:.2f} ms",
                f"{seconds['product'] / seconds['gradient']:.2f}",
                f"{counts:.2f}",
            ]
        )
    return rows


def arpack(t: Twin, depth: int) -> Callable[[], object]:
    """Curvlinops under ARPACK, stopped after one Krylov space of `depth` vectors."""
    from curvlinops import HessianLinearOperator
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    H = HessianLinearOperator(
        t.net, t.loss, list(t.net.parameters()), [(t.x, t.y)], check_deterministic=False
    ).to_scipy()
    start = np.random.default_rng(0).normal(size=H.shape[0])

    def work() -> object:
        try:
            return eigsh(H, k=1, ncv=depth, maxiter=1, v0=start, which="LA", tol=1e-30)
        except ArpackNoConvergence as stopped:
            return stopped

    return work


def lanczos(quick: bool, threads: int, depth: int = 30) -> list[list[str]]:
    """The same Krylov space by both."""
    rows = []
    for precision in ("float64", "float32"):
        net = tw.models.mlp([64, 64], "tanh")
        n = 50 if quick else 500
        problem = digits(net, n, precision)
        params = problem.init(jax.random.key(0))
        theta = jax.flatten_util.ravel_pytree(params)[0]

        @jax.jit
        def ours(params: Any, start: jax.Array, p: Any = problem) -> jax.Array:
            product = hessian_product(p.objective, params)
            return tridiagonalise(product, start, depth, jax.random.key(1)).projected

        work = {
            "thalweg": lambda f=ours, p=params, t=theta: f(p, t).block_until_ready(),
            "curvlinops": arpack(twin(problem, params), depth),
        }
        seconds = medians(work, 2 if quick else 7, threads)
        rows.append(
            [
                f"MLP 64-64, {n} digits, {precision}",
                *(f"{seconds[k] * 1e3:.0f} ms" for k in work),
                f"{seconds['curvlinops'] / seconds['thalweg']:.1f}x",
            ]
        )
    return rows


def main() -> None:
    """Print the tables."""
    asked = options(__doc__)
    limit_threads(asked.threads)
    print(machine(asked.threads), f"PyTorch {torch.__version__}")
    how = asked.quick, asked.threads
    columns = ["problem", "gradient", "product/gradient", "by operation counts"]
    show("Hessian products", columns, products(*how))
    if find_spec("curvlinops"):
        show("30 Lanczos steps", ["problem", "thalweg", "curvlinops", "ratio"], lanczos(*how))


if __name__ == "__main__":
    main()
