"""What holds for every model: the table is walked, so that a newcomer is met on arrival."""

from __future__ import annotations

from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from newcomers import classes_in, makers_in
from thalweg import models as room
from thalweg.core.digest import identity
from thalweg.core.errors import InputError
from thalweg.core.tree import Params
from thalweg.models import ACTIVATIONS, MODELS, Model, examples, parse_model
from thalweg.models.parse import FORMS

SHAPES = ((5,), (2, 4, 4), (2, 6), (2, 1, 8), (4, 3), (3, 3))
EXAMPLES = 3


@cache
def example(name: str) -> tuple[Model, tuple[int, ...]]:
    """A model and the first shape of an example that it takes; others are refused in a sentence."""
    model = MODELS[name]()
    for shape in SHAPES:
        try:
            jax.eval_shape(lambda key, s=shape: model.init(key, s, 1, jnp.float64), KEY)
        except InputError:
            continue
        return model, shape
    raise AssertionError(f"{name} takes no shape of {SHAPES}; add one that it takes")


KEY = jax.random.key(4)


@cache
def point(name: str, seed: int = 0) -> tuple[Params, jax.Array]:
    """Parameters off the start, where biases are not zero, and a batch."""
    model, shape = example(name)
    drawn = np.random.default_rng([4, seed])
    leaves, structure = jax.tree.flatten(model.init(jax.random.key(seed), shape, 1, jnp.float64))
    off = [jnp.asarray(np.asarray(w) + 0.1 * drawn.normal(size=w.shape)) for w in leaves]
    return jax.tree.unflatten(structure, off), jnp.asarray(drawn.normal(size=(EXAMPLES, *shape)))


@eqx.filter_jit
def outputs(model: Model, params: Params, x: jax.Array) -> jax.Array:
    return model.apply(params, x)


def single(tree: Any) -> Any:
    return jax.tree.map(lambda a: a.astype(jnp.float32), tree)


@pytest.mark.parametrize("name", MODELS)
class TestModels:
    def test_shapes_and_kinds(self, name: str) -> None:
        """Of parameters and outputs, in either precision, without implicit conversions."""
        model, shape = example(name)
        for kind in (jnp.float32, jnp.float64):
            with jax.numpy_dtype_promotion("strict"):
                params = jax.eval_shape(lambda key, k=kind: model.init(key, shape, 1, k), KEY)
                x = jax.ShapeDtypeStruct((EXAMPLES, *shape), kind)
                out = jax.eval_shape(model.apply, params, x)
            assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(kind)}
            assert (out.shape, out.dtype) == ((EXAMPLES, 1), kind)

    def test_a_start_is_that_of_its_key(self, name: str) -> None:
        model, shape = example(name)
        once, again = (model.init(KEY, shape, 1, jnp.float64) for _ in range(2))
        assert identity(once) == identity(again)
        assert identity(model) == identity(MODELS[name]())

    def test_compiled_or_not_together_or_alone(self, name: str) -> None:
        """Jit changes nothing, and nets side by side are nets one by one."""
        model, _ = example(name)
        points = [point(name, seed) for seed in (0, 1)]
        alone = [outputs(model, *p) for p in points]
        np.testing.assert_allclose(model.apply(*points[0]), alone[0], rtol=1e-12, atol=1e-14)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)
        together = jax.jit(jax.vmap(model.apply))(*stacked)
        np.testing.assert_allclose(together, jnp.stack(alone), rtol=1e-11, atol=1e-13)

    def test_examples_do_not_see_each_other(self, name: str) -> None:
        """Exactly where the model says so; a net that mixes its batch must say that it does."""
        model, _ = example(name)
        params, x = point(name)
        batch = outputs(model, params, x)
        rows = (jnp.asarray(row[None]) for row in np.asarray(x))
        alone = np.concatenate([outputs(model, params, row) for row in rows])
        apart = np.allclose(batch, alone, rtol=1e-10, atol=1e-12)
        assert apart == model.separable

    def test_float32_is_near_float64(self, name: str) -> None:
        model, _ = example(name)
        params, x = point(name)
        exact = outputs(model, params, x)
        size = float(jnp.max(jnp.abs(exact))) + 1.0
        np.testing.assert_allclose(
            outputs(model, single(params), single(x)), exact, atol=1e-4 * size
        )

    def test_the_last_layer_is_the_last(self, name: str) -> None:
        """Where features are told, the outputs are affine in them with `params[-1]`."""
        model, _ = example(name)
        params, x = point(name)
        try:
            h = model.features(params, x)
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017
            return
        last = params[-1]
        if "factors" in last or not isinstance(last["weight"], jax.Array):
            return
        expected = np.asarray(h @ last["weight"].T) + np.asarray(last.get("bias", 0.0))
        np.testing.assert_allclose(outputs(model, params, x), expected, rtol=1e-12, atol=1e-13)

    @pytest.mark.thorough
    def test_a_smooth_one_has_no_kinks(self, name: str) -> None:
        """Where the slope along a long line changes most at once, a closer look spreads it out."""
        model, _ = example(name)
        params, x = point(name)

        def wave(w: jax.Array) -> jax.Array:
            return jnp.sin(1 + jnp.arange(w.size, dtype=w.dtype)).reshape(w.shape)

        direction = jax.tree.map(wave, params)

        def along(t: jax.Array) -> jax.Array:
            moved = jax.tree.map(lambda w, d: w + t * d, params, direction)
            return jnp.sum(model.apply(moved, x) ** 2)

        @jax.jit
        def slopes(line: jax.Array) -> jax.Array:
            return jax.lax.map(jax.grad(along), line)

        line = jnp.linspace(-1.0, 1.0, 801)
        far = np.asarray(slopes(line))
        jumps = np.abs(np.diff(far))
        beyond = jumps[2:-2] - 2 * np.maximum(np.roll(jumps, 2), np.roll(jumps, -2))[2:-2]
        kinked = False
        for most in np.argsort(beyond)[-3:] + 2:
            if beyond[most - 2] > 1e-4 * np.max(np.abs(far)):
                near = np.asarray(slopes(jnp.linspace(line[most], line[most + 1], line.size)))
                # of 800 pieces, each has about one 800th of a smooth change, one all of a kink
                kinked |= bool(np.max(np.abs(np.diff(near))) > 0.1 * jumps[most])
        assert kinked == (not model.smooth)

    def test_a_homogeneous_one_scales_with_each_layer(self, name: str) -> None:
        """f(W_1, ..., c W_j, ...) = c f(W) for c > 0, where the model tells its slopes."""
        model, _ = example(name)
        if getattr(model, "slopes", None) is None:
            return
        params, x = point(name)
        exact = outputs(model, params, x)
        for j, layer in enumerate(params):
            scaled = [*params[:j], jax.tree.map(lambda w: 3.0 * w, layer), *params[j + 1 :]]
            np.testing.assert_allclose(outputs(model, scaled, x), 3 * exact, rtol=1e-12)

    def test_a_lost_point_is_data(self, name: str) -> None:
        model, _ = example(name)
        params, x = point(name)
        lost = jax.tree.map(lambda w: w * jnp.nan, params)
        assert bool(jnp.all(jnp.isnan(outputs(model, lost, x))))


@pytest.mark.parametrize("kind", FORMS)
def test_every_kind_of_the_command_line_is_in_the_table(kind: str) -> None:
    """Its form is read as it stands in the help, and makes a model of the table's kind."""
    form = FORMS[kind].split(" ")[0]
    model = parse_model(form)
    assert type(model) is type(MODELS[kind]())
    other = parse_model(form, activation="relu")
    assert identity(parse_model(form)) == identity(model)
    unasked = kind == "linear" or kind.startswith("spiking")
    assert (identity(other) == identity(model)) == unasked


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_say_whether_they_are_smooth_and_homogeneous(name: str) -> None:
    activation = ACTIVATIONS[name]
    z = jnp.linspace(-2.0, 2.0, 41)
    if activation.slopes is not None:
        a, b = activation.slopes
        expected = a * jnp.maximum(z, 0) - b * jnp.maximum(-z, 0)
        np.testing.assert_allclose(activation.function(z), expected, atol=1e-15)
    # A kink at 0 is where the one-sided first or second derivatives differ.
    h = 1e-3
    left, right = (activation.function(jnp.asarray([0.0, s * h, 2 * s * h])) for s in (-1, 1))
    slopes = [(-3 * v[0] + 4 * v[1] - v[2]) / (2 * s * h) for v, s in ((left, -1), (right, 1))]
    bends = [(v[0] - 2 * v[1] + v[2]) / h**2 for v in (left, right)]
    kink = abs(slopes[0] - slopes[1]) > 1e-3 or abs(bends[0] - bends[1]) > 0.1
    assert bool(kink) == (not activation.smooth)


def test_activations_of_the_table_are_those_of_a_net() -> None:
    """A net is smooth and homogeneous as its activation is."""
    for name, activation in ACTIVATIONS.items():
        net = room.mlp([3], name, bias=False)
        assert (net.smooth, net.slopes) == (activation.smooth, activation.slopes)


def test_every_model_is_in_the_table() -> None:
    made = {type(maker()) for maker in MODELS.values()}
    assert len(made) > 10
    others = {kind.__name__ for kind in classes_in(room, Model) - made}
    assert others == {"Network"}  # of another framework: tests/models/frameworks


def test_every_maker_is_in_the_table() -> None:
    """`from_equinox` wraps what the table has as hand-written; others need their frameworks."""
    makers = makers_in(room, Model)
    assert len(makers) > 5
    others = {name for name in makers if not hasattr(examples, name)}
    wrapping = {f"from_{name}" for name in ("equinox", "flax", "haiku", "keras", "torch")}
    assert others == wrapping | {"parse_model"}
