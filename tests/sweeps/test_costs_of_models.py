"""What methods that look at the model itself declare is what the model has seen of passes.

Its outputs go through an identity that calls back to the host with the rows of each pass: forward,
of a change of the parameters (two products where forward has one), and back. In thirds of a
gradient, as everywhere, these are 1, 2 and 2; the change of a pass back is 4, two of two products.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

import thalweg as tw

SEEN: Counter[str] = Counter()
THIRDS = {"forward": 1, "change": 2, "back": 2, "change of back": 4}
CHANGED = {"forward": "change", "change": "change", "back": "change of back"}
OUTPUTS, EXAMPLES = 2, 6


def counted(x: Any, kind: str) -> Any:
    def add(_: Any) -> None:
        SEEN[kind] += x.size // OUTPUTS

    jax.debug.callback(add, x)
    return x


look = Primitive("look")
look.def_impl(lambda x, *, kind: jax.jit(lambda x: counted(x, kind))(x))
look.def_abstract_eval(lambda x, *, kind: x)
mlir.register_lowering(look, mlir.lower_fun(counted, multiple_results=False))
batching.primitive_batchers[look] = lambda xs, axes, *, kind: (look.bind(xs[0], kind=kind), axes[0])
ad.primitive_jvps[look] = lambda xs, dxs, *, kind: (
    look.bind(xs[0], kind=kind),
    dxs[0] if isinstance(dxs[0], ad.Zero) else look.bind(dxs[0], kind=CHANGED[kind]),
)
ad.primitive_transposes[look] = lambda back, x, *, kind: [
    back if isinstance(back, ad.Zero) else look.bind(back, kind="back")
]


def outputs(weights: Any, x: Any) -> Any:
    hidden = jnp.tanh(x @ weights["first"].T)
    return look.bind(hidden @ weights["last"].T, kind="forward")


RNG = np.random.default_rng(0)
START = {
    "first": jnp.asarray(RNG.normal(size=(2, 1))),
    "last": jnp.asarray(RNG.normal(size=(2, 2))),
}
SIZE = 6


@pytest.fixture(autouse=True)
def nothing_seen() -> Iterator[None]:
    SEEN.clear()
    yield
    SEEN.clear()


def declared_and_seen(member: Any, steps: int) -> list[tuple[int, Counter[str]]]:
    """Of each step, what it declares and the passes in examples."""
    x = np.linspace(-1, 1, EXAMPLES)[:, None]
    model = tw.models.Applied(outputs, start=START)
    # Of labels, as the Fisher matrix of a squared error asks for no outputs.
    problem = tw.problems.supervised(model, (x, np.arange(EXAMPLES) % OUTPUTS))
    state = member.init(problem, START)
    step = jax.jit(lambda state, key: member.step(problem, state, key)[0])
    found = []
    for k in range(steps):
        SEEN.clear()
        after = jax.block_until_ready(step(state, jax.random.key(k)))
        jax.effects_barrier()
        found.append((int(after.evaluations) - int(state.evaluations), Counter(SEEN)))
        state = after
    return found


def thirds(passes: Counter[str]) -> float:
    return sum(THIRDS[kind] * rows for kind, rows in passes.items()) / EXAMPLES


@pytest.mark.thorough
@pytest.mark.parametrize(
    "options",
    [{}, {"structure": "eigenvalues"}, {"factor_examples": 2}, {"samples": 3}, {"momentum": 0.0},
     {"damping": 0.1, "gamma_decay": 0.9, "gamma_period": 2}],
)  # fmt: skip
def test_kfac_counts_its_trials_its_looks_and_its_passes_back(options: dict[str, Any]) -> None:
    member = tw.kfac(damping_period=3, **options)
    for declared, passes in declared_and_seen(member, 4):
        assert declared == int(np.ceil(thirds(passes) / 3 - 1e-9)), passes


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "columns"),
    [("natural-gradient", SIZE), ("gauss-newton", SIZE), ("constant-kfac", 0),
     ("relaxed-newton", SIZE)],
)  # fmt: skip
def test_exact_matrices_cost_their_columns(name: str, columns: int) -> None:
    for declared, passes in declared_and_seen(tw.dynamics.optimiser(name, 0.1), 2):
        assert passes["change"] == columns * EXAMPLES
        assert declared == 1 + int(np.ceil(thirds(passes) / 3 - 1 - 1e-9)), passes
