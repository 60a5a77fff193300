"""Extreme Hessian eigenvalues: our probes and matfree's plain Lanczos against the dense Hessian.

At the start and after 300 steps of gradient descent; errors are relative to the largest
eigenvalue in magnitude. "Reported" is what the method itself says of its error: a residual for the
largest eigenvalue, a bound for the smallest; plain Lanczos says nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from matfree import decomp, eig
from timing import limit_threads, machine, options, show

import thalweg as tw
from thalweg.core.curvature import dense_hessian, hessian_product
from thalweg.probes.probe import Moment


class Method(NamedTuple):
    """A way to an extreme eigenvalue; `ask` gives value, reported error (or NaN), products."""

    eigenvalue: str
    name: str
    ask: Callable[[Any], tuple[float, float, int]]


def probed(problem: tw.problems.Problem, probe: tw.probes.Probe) -> Callable[[Any], tuple]:
    """A probe that sees its point for the first time, with its products counted."""
    counts: list[int] = []

    def counted(objective: Any, params: Any) -> Any:
        product = hessian_product(objective, params)

        def told(vector: jax.Array) -> jax.Array:
            jax.debug.callback(lambda used: counts.append(int(used)), jnp.any(vector != 0))
            return product(vector)

        return told

    @jax.jit
    def once(params: Any) -> tw.Reading:
        moment = Moment(jnp.zeros((), int), jax.random.key(1))
        return probe.measure(problem, params, probe.start(problem, params), moment)[0]

    def ask(params: Any) -> tuple[float, float, int]:
        counts.clear()
        with mock.patch("thalweg.probes.curvature.hessian_product", counted):
            reading = once(params)
        jax.effects_barrier()
        return float(reading.value), float(reading.error), sum(counts)

    return ask


def plain(problem: tw.problems.Problem, products: int, end: int) -> Callable[[Any], tuple]:
    """matfree's Lanczos with full reorthogonalisation from a random start; end 0 or -1."""

    @jax.jit
    def ritz(params: Any) -> jax.Array:
        start = jax.random.normal(jax.random.key(2), ravel_pytree(params)[0].shape)
        lanczos = decomp.tridiag_sym(products, reortho="full", materialize=True)
        product = hessian_product(problem.objective, params)
        return jnp.sort(eig.eigh_partial(lanczos)(product, start)[0])[end]

    return lambda params: (float(ritz(params)), float("nan"), products)


def methods(problem: tw.problems.Problem) -> list[Method]:
    found = [
        Method("largest", f"sharpness({t:g})", probed(problem, tw.probes.sharpness(tolerance=t)))
        for t in (1e-2, 1e-6)
    ]
    for eigenvalue, end in (("largest", -1), ("smallest", 0)):
        if eigenvalue == "smallest":
            for count in (20, 40, 60):
                probe = tw.probes.smallest_eigenvalue(count)
                name = f"smallest_eigenvalue({count})"
                found.append(Method(eigenvalue, name, probed(problem, probe)))
        for count in (20, 40, 80):
            found.append(Method(eigenvalue, "matfree Lanczos", plain(problem, count, end)))
    return found


def main() -> None:
    chosen = options(__doc__)
    limit_threads(chosen.threads)
    hidden = [8] if chosen.quick else [32, 24]
    problem = tw.problems.digits(tw.models.mlp(hidden, "tanh"), "cross-entropy", samples=300)
    steps = 10 if chosen.quick else 300
    run = tw.run(problem, tw.gradient_descent(0.1), times=[0.0, 0.1 * steps])
    points = run.parameters.values[0]
    unravel = ravel_pytree(problem.init(jax.random.key(0)))[1]
    dense = jax.jit(lambda flat: dense_hessian(problem.objective, unravel(flat)))
    ways, rows = methods(problem), []
    for flat, where in zip(points, ("start", f"{steps} steps"), strict=True):
        spectrum = np.linalg.eigvalsh(np.asarray(dense(jnp.asarray(flat))))
        scale = np.abs(spectrum).max()
        for way in ways:
            value, told, products = way.ask(unravel(jnp.asarray(flat)))
            truth = spectrum[0 if way.eigenvalue == "smallest" else -1]
            error = f"{(value - truth) / scale:+.0e}"
            reported = "-" if np.isnan(told) else f"{told / scale:.0e}"
            row = [where, way.eigenvalue, way.name, f"{value:.6g}", error, reported]
            rows.append([*row, str(products)])
    title = f"Eigenvalues of a Hessian of {points.shape[1]} parameters; {machine(chosen.threads)}"
    columns = ["where", "eigenvalue", "method", "value", "error", "reported", "products"]
    show(title, columns, rows)


if __name__ == "__main__":
    main()
