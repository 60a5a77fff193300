"""What the check of shapes finds and what it lets pass."""

from __future__ import annotations

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from shapes import Loader, ShapeError, unchecked

MODULE = """
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from numpy.typing import ArrayLike

from thalweg.core.errors import InputError

if TYPE_CHECKING:
    from nowhere import Nothing

def product(a: Float[Array, "n k"], b: Float[Array, "k m"]) -> Float[Array, "n m"]:
    return a @ b

def halved(x: Float[Array, ""], by: int | None = None) -> Float[Array, ""]:
    return x / 2

def swapped(a: Float[Array, "n k"]) -> Float[Array, "n k"]:
    return a.T

def pair(a: tuple[Float[Array, "n"], Int[Array, "n"]] | None) -> int:
    return 1

def listed(a: Float[ArrayLike, "n"]) -> int:
    return len(a)

def layered(a: list[Float[Array, "out in"]], x: Float[Array, "n in"]) -> int:
    return 1

def careful(a: Float[Array, "n n"]) -> Float[Array, "n n"]:
    if a.shape[0] != a.shape[1]:
        raise InputError("no square")
    return a

def unresolved(a: Float[Array, "n n"], b: Nothing) -> int:
    return 1

def around(a: Float[Array, "n k"]) -> Float[Array, "k n"]:
    class Own: ...

    def within(x: Float[Array, "n k"], own: Own) -> Float[Array, "n k"]:
        return x.T

    return within(a, Own())

class Kind:
    @property
    def twice(self) -> Float[Array, "2"]:
        return self.values

    @classmethod
    def of(cls, values: Float[Array, "2"]) -> Kind:
        kind = cls()
        kind.values = values
        return kind

class Fit(NamedTuple):
    matrix: Float[Array, "n k"]
    values: Float[Array, "n"] | None = None

    @classmethod
    def of(cls, matrix):
        return cls(matrix, matrix[0])

def fit(matrix, values):
    return Fit(matrix, values)

@dataclass(frozen=True)
class Line:
    x: Float[Array, "n"]
    y: Float[Array, "n"]

class Step(eqx.Module):
    x: Float[Array, "n"]
    y: Float[Array, "n"]
    known: ClassVar[Float[Array, "k"] | None] = None

class Halved(Step):
    by: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        if (self.by == 0).all():
            raise InputError("by zero")
"""


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    path = tmp_path_factory.mktemp("checked") / "checked_module.py"
    path.write_text(MODULE)
    loader = Loader("checked_module", str(path))
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader("checked_module", loader)
    )
    sys.modules[module.__name__] = module  # where dataclasses look names up
    loader.exec_module(module)
    yield module
    del sys.modules[module.__name__]


def test_what_fits_passes(checked):
    a, b = jnp.ones((2, 3)), jnp.ones((3, 4))
    assert checked.product(a, b).shape == (2, 4)
    assert jax.jit(checked.product)(a, b).shape == (2, 4)
    assert jax.vmap(checked.product)(a[None], b[None]).shape == (1, 2, 4)
    assert checked.product(np.ones((2, 3)), np.ones((3, 4))).shape == (2, 4)
    assert checked.halved(1.0) == checked.halved(jnp.asarray(1.0)) == 0.5
    assert checked.pair(None) == checked.pair((jnp.ones(2), jnp.ones(2, int))) == 1
    layers = [jnp.ones((2, 3)), jnp.ones((5, 2)), jnp.ones((1, 5))]
    assert [checked.layered(layers, jnp.ones((4, 3))) for _ in range(20)] == [1] * 20
    assert checked.listed([1.0, 2.0]) == checked.listed(jnp.ones(2)) == 2
    assert checked.unresolved(jnp.ones((2, 2)), 3) == 1
    assert checked.Kind.of(jnp.ones(2)).twice.shape == (2,)
    assert checked.Fit.of(jnp.ones((3, 3))).values.shape == (3,)
    assert checked.fit(b, None).values is None
    assert checked.Line(jnp.ones(2), np.ones(2)).y.shape == (2,)
    assert checked.Halved(jnp.ones(2), jnp.ones(2), 2.0).by == 2
    assert checked.Step(jnp.ones((4, 2)), jnp.ones((4, 2))).x.shape == (4, 2)


def test_fields_of_a_batch_pass(checked):
    """What JAX puts together again has other shapes than what its source made."""
    matrix, values = jnp.ones((5, 4, 3)), jnp.ones((5, 4))
    for mapped in (jax.vmap(checked.fit), jax.jit(jax.vmap(checked.fit))):
        batch = mapped(matrix, values)
        assert batch.matrix.shape == (5, 4, 3)
        assert jax.tree.map(jnp.sum, batch).values.shape == ()
    batch = jax.vmap(checked.Step)(matrix[0], matrix[0])
    assert batch.x.shape == (4, 3)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            lambda m: m.product(jnp.ones((2, 3), int), jnp.ones((3, 4))),
            r"a came as .*int64\[2, 3\]",
        ),
        (lambda m: m.product(jnp.ones(3), jnp.ones((3, 4))), r"product: a came as .*float64\[3\]"),
        (lambda m: m.halved(jnp.ones(1)), r"x came as .*float64\[1\]"),
        (lambda m: m.swapped(jnp.ones((2, 3))), r"swapped: returned .*float64\[3, 2\]"),
        (lambda m: m.pair((jnp.ones(2), jnp.ones(3, int))), "a came as builtins.tuple"),
        (
            lambda m: m.layered([jnp.ones(2)] * 3, jnp.ones((4, 3))),
            "layered: a came as builtins.list",
        ),
        (
            lambda m: m.layered([jnp.ones((2, 3))], jnp.ones(3)),
            r"layered: x came as .*float64\[3\]",
        ),
        (lambda m: m.listed(np.ones((2, 2))), r"listed: a came as .*float64\[2, 2\]"),
        (lambda m: m.unresolved(jnp.ones((1, 2)), 3), r"unresolved: a came as .*float64\[1, 2\]"),
        (lambda m: m.around(jnp.ones((1, 2))), r"around.*within: returned .*float64\[2, 1\]"),
        (lambda m: m.Kind.of(jnp.ones(3)), r"Kind.of: values came as .*float64\[3\]"),
        (lambda m: m.Fit.of(jnp.ones((2, 3))), r"Fit: values came as .*float64\[3\]"),
        (lambda m: m.fit(jnp.ones((2, 3)), jnp.ones(3)), r"Fit: values came as .*float64\[3\]"),
        (lambda m: m.fit(jnp.ones((2, 3)), jnp.ones(2, int)), r"Fit: values came as .*int64\[2\]"),
        (lambda m: m.Fit(jnp.ones(2)), r"Fit: matrix came as .*float64\[2\]"),
        (lambda m: m.Fit(matrix=jnp.ones(2)), r"Fit: matrix came as .*float64\[2\]"),
        (lambda m: jax.vmap(m.fit)(jnp.ones((2, 3, 4)), jnp.ones((2, 4))), r"Fit: values came as"),
        (lambda m: jax.jit(m.fit)(jnp.ones((2, 3)), jnp.ones(4)), r"Fit: values came as"),
        (lambda m: m.Line(jnp.ones(2), jnp.ones(3)), r"Line: y came as .*float64\[3\]"),
        (lambda m: m.Step(jnp.ones(2), jnp.ones(3)), r"Step: y came as .*float64\[3\]"),
        (lambda m: m.Halved(jnp.ones(2), jnp.ones(3), 1.0), r"Step: y came as .*float64\[3\]"),
        (lambda m: m.Halved(jnp.ones(2), jnp.ones(2), jnp.ones((2, 2))), r"Halved: by came as"),
        (lambda m: m.Step(jnp.ones((4, 2)), jnp.ones((3, 2))), r"Step: y came as .*\[3, 2\]"),
    ],
)
def test_what_does_not_fit_is_told(checked, wrong, sentence):
    with pytest.raises(ShapeError, match=sentence):
        wrong(checked)


def test_a_letter_is_one_length(checked):
    with pytest.raises(TypeError):  # refused by the function itself
        checked.product(jnp.ones((2, 3)), jnp.ones((4, 3)))
    with pytest.raises(ShapeError, match="returned"):
        checked.swapped(jnp.ones((2, 3)))
    assert checked.swapped(jnp.ones((3, 3))).shape == (3, 3)


def test_what_a_function_refuses_itself_is_its_own_sentence(checked):
    with pytest.raises(tw.InputError, match="no square"):
        checked.careful(jnp.ones((2, 3)))


def test_wrong_arguments_may_be_left_to_the_package(checked):
    held = unchecked.set(True)
    try:
        assert checked.listed(np.ones((2, 2))) == 2
    finally:
        unchecked.reset(held)


def test_the_package_is_checked():
    from thalweg.core.rank import effective_rank_from

    with pytest.raises(
        ShapeError, match=r"core\.rank\.effective_rank_from: s came as .*int64\[3\]"
    ):
        effective_rank_from(jnp.ones(3, int))
