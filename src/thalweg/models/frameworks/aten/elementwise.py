"""Operations entry by entry."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def _scaled(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """A sum or difference, whose second term PyTorch scales."""

    def scaled(x: Any, y: Any, alpha: Any = 1) -> Any:
        return function(x, y if alpha == 1 else alpha * y)

    return scaled


def _reversed_difference(x: Any, y: Any, alpha: Any = 1) -> Any:
    return y - alpha * x


def _divided(x: Any, y: Any, rounding_mode: str | None = None) -> Any:
    quotient = jnp.true_divide(x, y)
    if rounding_mode is None:
        return quotient
    return jnp.floor(quotient) if rounding_mode == "floor" else jnp.trunc(quotient)


def _power(x: Any, exponent: Any) -> Any:
    if isinstance(exponent, float) and exponent.is_integer():
        exponent = int(exponent)  # derivatives of whole powers exist at zero, too
    return x**exponent


def _gelu(x: Array, approximate: str = "none") -> Array:
    return jax.nn.gelu(x, approximate=approximate == "tanh")


def _elu(x: Array, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Array:
    below = jnp.where(x > 0, 0, x)
    return scale * jnp.where(x > 0, x, alpha * jnp.expm1(input_scale * below))


def _hardtanh(x: Array, low: float = -1.0, high: float = 1.0) -> Array:
    return jnp.where(x <= low, low, jnp.where(x >= high, high, x))  # no slope at the ends


def _clamp(x: Array, least: Any = None, most: Any = None) -> Array:
    x = x if least is None else jnp.where(x < least, least, x)  # the slope at the ends is 1
    return x if most is None else jnp.where(x > most, most, x)


def _leaky_relu(x: Array, slope: float = 0.01) -> Array:
    return jnp.where(x > 0, x, slope * x)


def _relu(x: Array) -> Array:
    return jnp.where(x > 0, x, 0)


def _softplus(x: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    # Above the threshold PyTorch takes the line.
    return jnp.where(beta * x > threshold, x, jax.nn.softplus(beta * x) / beta)


def _where(condition: Array, x: Any, y: Any) -> Array:
    return jnp.where(condition, x, y)


def _remainder(x: Any, y: Any) -> Array:
    return jnp.mod(x, y)


def _same(x: Any, **_: Any) -> Any:
    return x


_LIKE_NUMPY = (
    *("abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "atan2", "bitwise_and"),
    *("bitwise_not", "bitwise_or", "bitwise_xor", "ceil", "cos", "cosh", "exp", "exp2", "expm1"),
    *("floor", "fmod", "isinf", "isnan", "log", "log10", "log1p", "log2", "logical_and"),
    *("logical_not", "logical_or", "logical_xor", "maximum", "minimum", "reciprocal", "round"),
    *("sign", "sin", "sinh", "sqrt", "square", "tan", "tanh", "trunc"),
)

ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{name: getattr(jnp, name) for name in _LIKE_NUMPY},
    "add": _scaled(operator.add),
    "sub": _scaled(operator.sub),
    "rsub": _reversed_difference,
    "mul": operator.mul,
    "neg": operator.neg,
    "div": _divided,
    "pow": _power,
    "fmod": jnp.fmod,
    "remainder": _remainder,
    "eq": operator.eq,
    "ne": operator.ne,
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
    "erf": jax.scipy.special.erf,
    "erfc": jax.scipy.special.erfc,
    "sigmoid": jax.nn.sigmoid,
    "rsqrt": jax.lax.rsqrt,
    "relu": _relu,
    "gelu": _gelu,
    "elu": _elu,
    "silu": jax.nn.silu,
    "softplus": _softplus,
    "hardtanh": _hardtanh,
    "leaky_relu": _leaky_relu,
    "clamp": _clamp,
    "where": _where,
    "clone": _same,
    "alias": _same,
    "copy": lambda x, source: jnp.broadcast_to(source, x.shape).astype(x.dtype),
    "detach": jax.lax.stop_gradient,
    # Arithmetic on the sizes of a batch, which Python does.
    "operator.add": operator.add,
    "operator.sub": operator.sub,
    "operator.mul": operator.mul,
    "operator.floordiv": operator.floordiv,
    "operator.truediv": operator.truediv,
    "operator.mod": operator.mod,
    "operator.neg": operator.neg,
    "operator.pow": operator.pow,
    "operator.getitem": operator.getitem,
    "operator.eq": operator.eq,
    "operator.ne": operator.ne,
    "operator.ge": operator.ge,
    "operator.gt": operator.gt,
    "operator.le": operator.le,
    "operator.lt": operator.lt,
    "math.ceil": math.ceil,
    "math.floor": math.floor,
    "math.trunc": math.trunc,
    "sym_float": float,
    "sym_max": max,
    "sym_min": min,
}
