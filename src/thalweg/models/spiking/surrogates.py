"""Spikes, and what stands in for their derivative."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import Primitive, jaxprs_in_params
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from thalweg.core.arguments import told
from thalweg.core.doors import Checked
from thalweg.core.errors import key_of, require
from thalweg.core.ranges import require_positive

WHAT = "surrogate derivative"


def _arctan(x: Array) -> Array:
    return 1.0 / (1.0 + (math.pi * x) ** 2)


def _sigmoid(x: Array) -> Array:
    return 4.0 * jax.nn.sigmoid(4.0 * x) * jax.nn.sigmoid(-4.0 * x)  # exact in both tails


def _fast_sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + 2.0 * jnp.abs(x)) ** 2


def _triangle(x: Array) -> Array:
    return jnp.maximum(1.0 - jnp.abs(x), 0.0)


def _rectangle(x: Array) -> Array:
    return (jnp.abs(x) <= 0.5).astype(x.dtype)


def _straight_through(x: Array) -> Array:
    return jnp.ones_like(x)


# Each is 1 at 0, and but for straight-through has area 1: its primitive rises from 0 to 1.
SURROGATES: dict[str, Callable[[Array], Array]] = {
    "arctan": _arctan,
    "sigmoid": _sigmoid,
    "fast-sigmoid": _fast_sigmoid,
    "triangle": _triangle,
    "rectangle": _rectangle,
    "straight-through": _straight_through,
}
SURROGATE_FORMULAS = {
    "arctan": "1 / (1 + (pi x)^2)",
    "sigmoid": "4 p (1 - p), p = 1 / (1 + exp(-4 x))",
    "fast-sigmoid": "1 / (1 + 2 |x|)^2, of SuperSpike",
    "triangle": "max(1 - |x|, 0)",
    "rectangle": "1 where |x| <= 1/2, else 0",
    "straight-through": "1",
}


class SurrogateDerivative(Checked):
    """What stands in for the derivative of a spike: s(z) = height phi(z / width).

    z is the membrane potential less its threshold. The phi are, with x = z / width:

    - "arctan": 1 / (1 + (pi x)^2), the slope of arctan(pi x) / pi + 1/2 (Fang et al. 2021);
    - "sigmoid": 4 p (1 - p) with p = 1 / (1 + exp(-4 x));
    - "fast-sigmoid": 1 / (1 + 2 |x|)^2 (SuperSpike, Zenke and Ganguli 2018);
    - "triangle": max(1 - |x|, 0) (Esser et al. 2016, Bellec et al. 2018);
    - "rectangle": 1 where |x| <= 1/2, else 0 (Wu et al. 2018);
    - "straight-through": 1 everywhere (Bengio et al. 2013); the width is no matter.

    Others write the same with other letters: SpikingJelly's ATan(alpha) has width 2 / alpha and
    height alpha / 2, its Sigmoid(alpha) width 4 / alpha and height alpha / 4; the fast sigmoid of
    Zenke and of snnTorch of slope beta has width 2 / beta and height 1.

    Attributes:
        kind: A name in `thalweg.models.SURROGATES`.
        width: Of the argument, in units of the potential, above 0.
        height: The value at threshold, above 0.
    """

    kind: str = eqx.field(static=True, default="arctan")
    width: float = eqx.field(static=True, default=1.0)
    height: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        require(
            self.kind in SURROGATES,
            f"surrogate derivative came as {told(self.kind)}; give one of {', '.join(SURROGATES)}",
        )
        require_positive(width=self.width, height=self.height)

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """s(z), of the shape and type of z."""
        return self.height * SURROGATES[self.kind](z / self.width)


def surrogate_derivative(
    kind: str = "arctan", width: float = 1.0, height: float = 1.0
) -> SurrogateDerivative:
    """What stands in for a spike's derivative, by name: s(z) = height phi(z / width).

    Args:
        kind: A name in `SURROGATES`, as "arctan"; `SurrogateDerivative` has the formulas.
        width: Of the argument, in units of the potential, above 0.
        height: The value at threshold, above 0.

    Raises:
        InputError: If the name is unknown or a number is not above 0.

    Examples:
        >>> slope = tw.models.surrogate_derivative("triangle", width=2.0)
        >>> slope(jnp.array([-3.0, -1.0, 0.0, 1.0])).tolist()  # max(1 - |z| / 2, 0)
        [0.0, 0.5, 1.0, 0.5]
    """
    return SurrogateDerivative(key_of(kind, SURROGATES, WHAT), width, height)


def surrogate_given(given: Any) -> Any:
    """What a neuron keeps of a surrogate derivative: of a name, the one of width and height 1.

    A number after a colon is the width: "arctan:0.5". Anything else is left to the check of kinds.

    Raises:
        InputError: If the name is unknown, or what follows the colon is no number above 0.
    """
    if not isinstance(given, str):
        return given
    kind, colon, number = given.partition(":")
    key = key_of(kind, SURROGATES, WHAT)
    if not colon:
        return SurrogateDerivative(key)
    try:
        width = float(number)
    except ValueError:
        width = math.nan
    require(
        math.isfinite(width) and width > 0,
        f"surrogate derivative {given!r} came; give {kind} a width above 0, as in {kind}:0.5",
    )
    return SurrogateDerivative(key, width)


def spikes_of(z: Float[Array, "..."], surrogate: SurrogateDerivative) -> Float[Array, "..."]:
    """1{z >= 0}, whose derivative is *taken to be* s(z) in every derivative that JAX takes.

    The true derivative is 0 wherever it exists. With the rule dS = s(z) dz a gradient is that of
    backpropagation through time with s in place of the spike's slope: of no loss the gradient,
    in general, and the field it makes need not be conservative. The rule is itself differentiated,
    so that d2S = s'(z) dz^2 + s(z) d2z: a second derivative (a Hessian product, say) is that of the
    function in which each spike is replaced, *at the present point*, by the parabola of value
    1{z >= 0}, slope s(z) and bend s'(z). It is symmetric, as that function is smooth; it is not the
    rate of change of the surrogate gradient along a line, on which spikes come and go in jumps.
    Where s has kinks (triangle, rectangle, fast sigmoid at 0) s' is that of the piece.

    Not-a-number stays so: a diverged run is not to look silent.

    Args:
        z: Potential less threshold, of any shape.
        surrogate: What stands in for the derivative.

    Examples:
        >>> slope = tw.models.surrogate_derivative("arctan")
        >>> fire = lambda z: tw.models.spikes_of(z, slope)
        >>> float(fire(0.0)), float(jax.grad(fire)(0.0)), float(fire(-0.1))
        (1.0, 1.0, 0.0)
    """
    z = jnp.asarray(z)
    z = z if jnp.issubdtype(z.dtype, jnp.floating) else z.astype(float)
    return spike_p.bind(z, kind=surrogate.kind, width=surrogate.width, height=surrogate.height)


def takes_surrogates(function: Callable[..., Any], *shapes: Any) -> bool:
    """Whether a function's derivatives are surrogates: whether its trace has spikes in it.

    Args:
        function: Of arrays or trees.
        shapes: What it is traced with, arrays or their shapes.
    """
    return _has_spikes(jax.make_jaxpr(function)(*shapes).jaxpr)


def _has_spikes(jaxpr: Any) -> bool:
    inner = (jaxprs_in_params(eqn.params) for eqn in jaxpr.eqns)
    return any(eqn.primitive is spike_p for eqn in jaxpr.eqns) or any(
        _has_spikes(sub) for subs in inner for sub in subs
    )


def _spikes(z: Array, **_: Any) -> Array:
    return jnp.where(jnp.isnan(z), z, (z >= 0).astype(z.dtype))


def _tangent(dz: Array, z: Array, kind: str, width: float, height: float) -> Array:
    return height * SURROGATES[kind](z / width) * dz


# A primitive rather than a `jax.custom_jvp`: loops and inner `jit`s keep no custom rule where they
# are split for reverse mode, so that a Hessian product would take the spike's slope for zero.
spike_p = Primitive("spike")
spike_p.def_impl(jax.jit(_spikes, static_argnames=("kind", "width", "height")))
spike_p.def_abstract_eval(lambda z, **_: jax.core.ShapedArray(z.shape, z.dtype))
ad.defjvp(spike_p, _tangent)
batching.defvectorized(spike_p)
mlir.register_lowering(spike_p, mlir.lower_fun(_spikes, multiple_results=False))
