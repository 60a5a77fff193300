"""What a model is: parameters from a key, outputs from parameters and a batch."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.arguments import told
from thalweg.core.digest import identity
from thalweg.core.doors import Checked
from thalweg.core.errors import InputError, choose, key_of, reason, require
from thalweg.core.trained import divide, held_names, is_real, join
from thalweg.core.tree import Params

Shape = tuple[int, ...]


class Model(Checked):
    """A network as a pair of pure functions; hyper-parameters are static fields."""

    @abc.abstractmethod
    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any) -> Params:
        """Fresh parameters for examples of shape `inputs` and `outputs` numbers out."""

    @abc.abstractmethod
    def apply(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n k"]:
        """Outputs for a batch of n examples."""

    def features(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n m"]:
        """What the last, affine layer sees; that layer's parameters are `params[-1]`.

        Raises:
            InputError: If the model has no such layer.
        """
        raise InputError(
            f"{type(self).__name__} does not say which layer is its last; give one of thalweg's "
            "networks, or a model with a method features(params, x)"
        )

    @property
    def smooth(self) -> bool:
        """Whether the outputs are twice differentiable in the parameters everywhere."""
        return True

    @property
    def separable(self) -> bool:
        """Whether the output of an example does not depend on the other examples of its batch."""
        return True


class Applied(Model):
    """Any `init(key) -> params` and `apply(params, x) -> outputs` (Flax, Haiku, hand-written).

    The parameters are the floating-point leaves of the tree: float16 and bfloat16 ones are cast
    up to the precision of the problem, complex ones are trained as pairs of real arrays (see
    `thalweg.core.trained`). Whole numbers, booleans, PRNG keys, functions and running averages
    ("batch_stats" and Flax's other collections beside "params") are held fixed; the function gets
    the tree as it was given.

    Args:
        apply_function: Maps parameters and a batch (n, ...) to outputs (n, k), or (n,) for k = 1;
            of a pair (outputs, updates), as Flax and Haiku return it, the outputs count. It must
            give the same for the same arguments: dropout in training is refused.
        init_function: Maps a key to parameters, or None if `start` is given.
        start: Parameters that every seed starts from; a whole Equinox module, too.
        is_smooth: Whether the outputs are free of kinks (of ReLU, max-pooling). None has
            `problems.supervised` find out, along random lines through the start.
        is_separable: Whether the output of an example depends on no other example of its batch.
            None has `problems.supervised` find out, on a few examples.

    Raises:
        InputError: If an argument does not fit, or nothing in the tree can be trained.
    """

    apply_function: Callable[..., Any] = eqx.field(static=True)
    init_function: Callable[[Array], Params] | None = eqx.field(static=True, default=None)
    start: Params = None
    is_smooth: bool | None = eqx.field(static=True, default=None)
    is_separable: bool | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if (self.init_function is None) == (self.start is None):
            raise InputError("give either init_function or start (parameters), not both or neither")
        if self.init_function is None:
            divide(self.start, "start")
        else:
            _drawn(self.init_function)

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any) -> Params:
        whole = self.start if self.init_function is None else self.init_function(key)
        params, _ = divide(whole, "start" if self.init_function is None else "init_function")
        return jax.tree.map(lambda leaf: leaf.astype(dtype), params)

    def apply(self, params: Params, x: Array) -> Array:
        out = self._called(join(params, self._held(params)), x)
        if isinstance(out, tuple | list) and len(out) == 2 and not hasattr(out[1], "shape"):
            out = out[0]
        require(
            hasattr(out, "shape") and hasattr(out, "dtype"),
            f"the apply function returns a {type(out).__name__}; let it return the outputs (n, k) "
            "alone, or as the first of (outputs, updates)",
        )
        return out[:, None] if out.ndim == 1 else out

    def _called(self, whole: Params, x: Array) -> Any:
        return self.apply_function(whole, x)

    @property
    def held(self) -> list[str]:
        """Paths of the arrays that are held fixed, as "step", "batch_stats.mean"."""
        return held_names(self._fixed)

    @property
    def _fixed(self) -> Params:
        if self.init_function is None:
            return divide(self.start, "start")[1]
        return _drawn(self.init_function)

    def _held(self, params: Params) -> Params:
        """What is held fixed, its floating-point numbers in the precision of the parameters."""
        kind = jax.tree.leaves(params)[0].dtype
        return jax.tree.map(lambda leaf: leaf.astype(kind) if is_real(leaf) else leaf, self._fixed)

    @property
    def smooth(self) -> bool:
        return self.is_smooth is not False

    @property
    def separable(self) -> bool:
        return self.is_separable is not False


@lru_cache(maxsize=64)
def _drawn(init_function: Callable[[Array], Params]) -> Params:
    """What is held fixed of parameters that are drawn: the same for every seed.

    Raises:
        InputError: If it is not.
    """
    what = "init_function"
    try:
        result = eqx.filter_eval_shape(init_function, jax.random.key(0))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"init_function does not map a key to parameters: {reason(error)}"
        ) from error
    shapes = divide(result, what)[1]
    if not held_names(shapes):
        return shapes
    with jax.ensure_compile_time_eval():
        one, other = (divide(init_function(jax.random.key(seed)), what)[1] for seed in (0, 1))
    for (path, leaf), again in zip(
        jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True
    ):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        require(
            identity(leaf) == identity(again),
            f"init_function draws {name} anew for every seed, and it cannot be trained; let the "
            "apply function bring it, or give start",
        )
    return one


def from_equinox(module: eqx.Module, smooth: bool | None = None, state: Any = None) -> Applied:
    """A model from an Equinox module, which acts on one example; batching is by `vmap`.

    Its floating-point arrays are the parameters (complex ones as pairs of real arrays, half
    precision cast up); everything else is held fixed.

    Args:
        module: An Equinox module, called as `module(x)`, or with a state as `module(x, state)`.
        smooth: Whether it is free of kinks (of ReLU, max-pooling); None: see `Applied`.
        state: Of `eqx.nn.make_with_state`, for modules with running averages (BatchNorm); held
            fixed. In training mode the batch's own averages are used, as the layer does it.

    Raises:
        InputError: If the module has a dropout layer in training mode, or needs a state.

    Examples:
        >>> import equinox as eqx
        >>> net = eqx.nn.Linear(2, 1, use_bias=False, key=jax.random.key(0))
        >>> model = tw.models.from_equinox(net)
        >>> params = model.init(jax.random.key(1), (2,), 1, jnp.float64)  # the net's own, cast
        >>> bool(jnp.allclose(model.apply(params, jnp.eye(2)), net.weight.T))
        True
    """
    require(
        isinstance(module, eqx.Module),
        f"module came as {told(module)}; give an Equinox module, as eqx.nn.MLP(...)",
    )
    parts = jax.tree_util.tree_leaves_with_path(
        module, is_leaf=lambda n: isinstance(n, eqx.nn.Dropout | eqx.nn.StateIndex)
    )
    for path, part in parts:
        name = jax.tree_util.keystr(path)
        require(
            not isinstance(part, eqx.nn.Dropout) or part.inference or part.p == 0,
            f"module{name} is dropout in training mode, whose outputs are random; give "
            "eqx.nn.inference_mode(module)",
        )
        require(
            not isinstance(part, eqx.nn.StateIndex) or state is not None,
            f"module{name} keeps running averages; give their state too, of "
            "module, state = eqx.nn.make_with_state(...)(...)",
        )
    if state is None:
        return Applied(_each, start=module, is_smooth=smooth)
    return Applied(_each_with_state, start=(module, state), is_smooth=smooth)


def _each(module: Any, x: Array) -> Array:
    return jax.vmap(module)(x)


def _each_with_state(both: Any, x: Array) -> Any:
    module, state = both
    norms = jax.tree.leaves(module, is_leaf=lambda n: isinstance(n, eqx.nn.BatchNorm))
    axis = next((n.axis_name for n in norms if isinstance(n, eqx.nn.BatchNorm)), "batch")
    return jax.vmap(module, in_axes=(0, None), out_axes=(0, None), axis_name=axis)(x, state)[0]


class Activation(eqx.Module):
    """An activation with what theory needs to know of it.

    `slopes` are (alpha, alpha_bar) of sigma(z) = alpha max(z, 0) - alpha_bar max(-z, 0) for
    positively homogeneous activations, None for others.
    """

    function: Callable[[Array], Array] = eqx.field(static=True)
    smooth: bool = eqx.field(static=True, default=True)
    slopes: tuple[float, float] | None = eqx.field(static=True, default=None)


def _leaky(slope: float) -> Activation:
    def leaky(z: Array) -> Array:
        return jnp.where(z > 0, z, slope * z)

    return Activation(leaky, smooth=False, slopes=(1.0, slope))


def _softplus(sharpness: float) -> Activation:
    def softplus(z: Array) -> Array:
        return jax.nn.softplus(sharpness * z) / sharpness

    return Activation(softplus)


def _identity(z: Array) -> Array:
    return z


def _gelu_erf(z: Array) -> Array:
    return jax.nn.gelu(z, approximate=False)


WHAT = "activation"
ACTIVATIONS: dict[str, Activation] = {
    "tanh": Activation(jnp.tanh),
    "relu": Activation(jax.nn.relu, smooth=False, slopes=(1.0, 0.0)),
    "leaky-relu": _leaky(0.01),
    "abs": Activation(jnp.abs, smooth=False, slopes=(1.0, -1.0)),
    "gelu": Activation(jax.nn.gelu),
    "gelu-erf": Activation(_gelu_erf),
    "softplus": Activation(jax.nn.softplus),
    "silu": Activation(jax.nn.silu),
    "elu": Activation(jax.nn.elu, smooth=False),
    "erf": Activation(jax.scipy.special.erf),
    "sigmoid": Activation(jax.nn.sigmoid),
    "sin": Activation(jnp.sin),
    "linear": Activation(_identity, slopes=(1.0, 1.0)),
}
FORMULAS = {
    "tanh": "tanh z",
    "relu": "max(z, 0)",
    "leaky-relu": "z above zero and 0.01 z below; leaky-relu:0.3 for another slope",
    "abs": "|z|",
    "gelu": "z times the normal distribution function of z, by its tanh formula",
    "gelu-erf": "z times the normal distribution function of z, exactly",
    "softplus": "ln(1 + exp z); softplus:100 for ln(1 + exp(100 z)) / 100",
    "silu": "z / (1 + exp(-z))",
    "elu": "z above zero and exp(z) - 1 below",
    "erf": "the error function of z",
    "sigmoid": "1 / (1 + exp(-z))",
    "sin": "sin z",
    "linear": "z itself",
}
# Other functions that compute the same.
ALSO = [("leaky-relu", jax.nn.leaky_relu), ("tanh", np.tanh), ("tanh", jax.lax.tanh)]
# Those that take a number, as "leaky-relu:0.1" (slope below zero) or "softplus:100", which is
# ln(1 + exp(100 z)) / 100 and within ln(2) / 100 of ReLU.
FAMILIES: dict[str, Callable[[float], Activation]] = {"leaky-relu": _leaky, "softplus": _softplus}


def activation_given(value: Any) -> str | Activation:
    """What a net keeps of an activation: its key and number, or an `Activation` of the user's own.

    Args:
        value: Either of them, or one of the functions behind the names, as `jax.nn.silu`.

    Raises:
        InputError: If it is an unknown name, another function, of which nothing is known, or no
            activation at all.
    """
    if isinstance(value, Activation):
        return value
    if isinstance(value, str):
        name, colon, number = value.partition(":")
        keys, what = (FAMILIES, f"{WHAT} with a number") if colon else (ACTIVATIONS, WHAT)
        return key_of(name, keys, what) + colon + number
    functions = {name: known.function for name, known in ACTIVATIONS.items()}
    for name, function in [*functions.items(), *ALSO]:
        if value is function:
            return name
    raise InputError(
        f"activation came as {told(value)}; give a name, as 'tanh', or of an elementwise function "
        "of JAX models.Activation(function, smooth=...), which says whether it is free of kinks"
    )


@cache  # one function object per name, so that what was compiled with it is found again
def activation(name: str | Activation) -> Activation:
    """An activation by name, "softplus", or by name and number, "softplus:100".

    An `Activation` is returned as it is.

    Raises:
        InputError: If the name is unknown, or what follows the colon is no number it takes; the
            sentence says what is allowed.

    Examples:
        >>> leaky = tw.models.activation("leaky-relu:0.5")
        >>> float(leaky.function(-2.0)), leaky.slopes, leaky.smooth
        (-1.0, (1.0, 0.5), False)
    """
    if isinstance(name, Activation):
        return name
    family, colon, number = name.partition(":")
    if not colon:
        return choose(name, ACTIVATIONS, WHAT)
    family = key_of(family, FAMILIES, f"{WHAT} with a number")
    member = FAMILIES[family]
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    require(
        math.isfinite(value) and (family != "softplus" or value > 0),
        f"activation {name!r} came; give {family} a finite {'positive ' * (family == 'softplus')}"
        f"number, as in {family}:0.5",
    )
    return member(value)
