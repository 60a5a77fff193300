"""Keras 3 on its JAX backend: models as pure functions of their variables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core.arguments import told
from thalweg.core.errors import InputError, require
from thalweg.core.tree import Params
from thalweg.models.frameworks.agreement import relative_gap
from thalweg.models.frameworks.in_jax import double, held_against, narrows
from thalweg.models.frameworks.network import Network, as_examples, freely, needing, taken

NATIVE = 0.05  # what the model's own call in half precision may differ by


@freely()
def from_keras(
    net: Any, example: Any = None, smooth: bool | None = None, training: bool = False
) -> Network:
    """A model from a Keras model on the JAX backend, which starts from its own weights.

    Trainable variables are trained, by their paths; all others (running averages, seeds) are held
    fixed. Its layers compute in the precision of the problem, whatever their own dtype policy.

    Args:
        net: A built Keras model: sequential, functional, or a class of one's own.
        example: A batch of inputs (n, ...). On its first rows outputs, a gradient and a Hessian
            product are compared with Keras's own call in float64; whole numbers say that the net
            takes tokens. `problems.supervised` gives its data.
        smooth: Whether the net is free of kinks (of ReLU); None: see `Applied`.
        training: As of the model's call. True is refused if the call then writes a variable, as
            dropout and batch normalisation do.

    Raises:
        InputError: If Keras is not installed or runs on another backend, the model is not built,
            writes variables, computes in less than its weights' precision, or something differs.

    Cost: with an example a forward pass, and a gradient and a product of two kinds.

    Examples:
        >>> import keras
        >>> layer = keras.layers.Dense(1, use_bias=False, name="layer")
        >>> net = keras.Sequential([keras.Input((2,)), layer], name="net")
        >>> model = tw.models.from_keras(net, example=np.eye(2))
        >>> params = model.init(jax.random.key(0), (2,), 1, jnp.float64)  # the net's own, cast
        >>> bool(jnp.allclose(model.apply(params, jnp.eye(2)), params["net/layer/kernel"]))
        True
        >>> [w.shape for w in model.to_framework(params)]  # what net.set_weights takes
        [(2, 1)]
    """
    with needing("keras"):
        import keras
    require(isinstance(net, keras.Layer), f"net came as {told(net)}; give a Keras model or layer")
    title = f"the Keras model {net.name}"
    backend = keras.backend.backend()
    require(
        backend == "jax",
        f"{title} runs on {backend}; set KERAS_BACKEND=jax in the environment before keras is "
        "imported, and load the model again",
    )
    require(net.built, f"{title} is not built, so that its weights have no shapes; call it once")
    trained, held = _named(net.trainable_variables), _named(net.non_trainable_variables)
    require(bool(trained), f"{title} has no trainable variable; nothing is trained")
    run = _Calls(net, tuple(trained), tuple(held), False, training)
    rows = None
    if example is not None:
        rows = taken(lambda x: run.native(x), as_examples(example), title)
        run = dataclasses.replace(run, whole=rows.dtype.kind in "iu")
        _refuse_changes(run, trained, held, rows, title)
    model = Network(
        run,
        start={name: np.asarray(v.value) for name, v in trained.items()},
        is_smooth=smooth,
        beside={name: jnp.asarray(v.value) for name, v in held.items()},
        title=f"from_keras({net.name})",
        returned=run.weights,
        verified=None if rows is not None else lambda x: from_keras(net, x, smooth, training),
    )
    if rows is None:
        return model
    narrows(model, rows, title, {})

    def theirs(whole: Params) -> Any:
        return run(whole, double(model.beside), jnp.asarray(rows))

    model = held_against(model, theirs, rows, title)
    params = {name: jnp.asarray(value, float) for name, value in model.start.items()}
    own = np.asarray(run.native(rows), float)
    gap = relative_gap(np.asarray(model.apply(params, jnp.asarray(rows, float))), own)
    require(
        gap <= NATIVE,
        f"{title} does not agree with its own call, by {gap:.1e} of the largest output; a layer "
        "must hold its weights outside the model's variables",
    )
    return model


@dataclasses.dataclass(frozen=True, eq=False)
class _Calls:
    """The model as a function of its variables and a batch."""

    net: Any
    trained: tuple[str, ...]
    held: tuple[str, ...]
    whole: bool
    training: bool

    def __call__(self, params: Params, beside: Params, x: Any) -> Any:
        return self.stateless(params, beside, x)[0]

    def stateless(self, params: Params, beside: Params, x: Any) -> Any:
        """Outputs, and what the other variables become."""
        x = jnp.rint(x).astype(int) if self.whole else x
        weights = [params[name] for name in self.trained]
        others = [beside[name] for name in self.held]
        with _computing_in(self.net, str(weights[0].dtype)):
            return self.net.stateless_call(weights, others, x, **self._mode())

    def native(self, x: np.ndarray) -> Any:
        """The model's own call, in its own precision."""
        if x.dtype.kind == "f":
            x = x.astype(np.float32)
        trained = [v.value for v in self.net.trainable_variables]
        held = [v.value for v in self.net.non_trainable_variables]
        return self.net.stateless_call(trained, held, jnp.asarray(x), **self._mode())[0]

    def weights(self, whole: Params) -> list[np.ndarray]:
        """What `set_weights` takes: trained ones new, others as they are."""
        by_variable = {
            id(v): whole[name]
            for name, v in zip(self.trained, self.net.trainable_variables, strict=True)
        }
        return [np.asarray(by_variable.get(id(v), v.value)) for v in self.net.weights]

    def _mode(self) -> dict[str, Any]:
        """Layers alone, as Dense, take no word on training."""
        return {"training": self.training} if self.net._call_has_training_arg else {}


@contextmanager
def _computing_in(net: Any, kind: str) -> Iterator[None]:
    """Within it all layers and variables are of one type, whatever they were made in.

    Keras on JAX also takes float64 down to float32 in its own rules of promotion; these are put
    aside. `narrows` sees what would still be rounded.
    """
    import keras
    from keras.src.backend.common import dtypes

    policy, floats = keras.DTypePolicy(kind), keras.config.floatx()
    layers = list(net._flatten_layers())
    inner = [part for layer in layers if (part := getattr(layer, "_functional", None)) is not None]
    entries = [t for layer in (*layers, *inner) for t in getattr(layer, "_inputs", ())]
    whole = [(layer, "_dtype_policy", policy) for layer in (*layers, *inner)]
    whole += [(v, "_dtype", kind) for v in (*net.variables, *entries) if "float" in v.dtype]
    # JAX's fused attention takes its softmax in float32; with dropout Keras writes it out.
    for kind_of, name in (("MultiHeadAttention", "_dropout"), ("GroupQueryAttention", "dropout")):
        fused = getattr(keras.layers, kind_of)
        whole += [(layer, name, 1.0) for layer in layers if isinstance(layer, fused)]
    before = [getattr(part, name) for part, name, _ in whole]
    rules = dict(dtypes.BIT64_TO_BIT32_DTYPE)
    try:
        dtypes.BIT64_TO_BIT32_DTYPE.pop("float64", None)
        keras.config.set_floatx(kind)
        for part, name, value in whole:
            setattr(part, name, value)
        yield
    finally:
        dtypes.BIT64_TO_BIT32_DTYPE.update(rules)
        keras.config.set_floatx(floats)
        for (part, name, _), old in zip(whole, before, strict=True):
            setattr(part, name, old)


def _named(variables: Any) -> dict[str, Any]:
    """Variables by their paths, numbered where two go by one."""
    found: dict[str, Any] = {}
    for v in variables:
        name, count = v.path, 1
        while name in found:
            count += 1
            name = f"{v.path}_{count}"
        found[name] = v
    return found


def _refuse_changes(
    run: _Calls, trained: dict[str, Any], held: dict[str, Any], rows: np.ndarray, title: str
) -> None:
    """Refuse a model that writes variables when it is called."""
    before = double({name: jnp.asarray(v.value) for name, v in held.items()})
    weights = double({name: jnp.asarray(v.value) for name, v in trained.items()})
    _, after = run.stateless(weights, before, jnp.asarray(rows))
    for name, new in zip(run.held, after, strict=True):
        old = before[name]
        keys = jnp.issubdtype(old.dtype, jax.dtypes.prng_key)
        if not keys and not np.array_equal(old, new, equal_nan=old.dtype.kind == "f"):
            raise InputError(
                f"{title} is in training mode: its call writes {name} (dropout or batch "
                "statistics); leave training=True out"
            )
