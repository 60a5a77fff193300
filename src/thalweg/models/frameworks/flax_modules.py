"""Flax: modules of NNX, which hold their weights, and of Linen, whose variables lie beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core.arguments import told
from thalweg.core.errors import InputError, require
from thalweg.core.tree import Params
from thalweg.models.frameworks.in_jax import double, held_against, narrows
from thalweg.models.frameworks.network import Network, as_examples, freely, needing, taken

EVALUATION = "give the module as for evaluation"


@freely()
def from_flax(
    net: Any, variables: Any = None, example: Any = None, smooth: bool | None = None, **options: Any
) -> Network:
    """A model from a Flax module, of NNX or Linen, that starts from its own weights.

    Of NNX the `nnx.Param` of the module are trained; of Linen the collection "params". Running
    averages and all else are held fixed. Dropout in training and batch statistics in training are
    refused by the layer's name.

    Args:
        net: An NNX module, or a Linen one.
        variables: Of a Linen module: as `net.init` gives them or as training left them, or the
            parameters alone where there is nothing else. None: every seed draws its own, by
            `net.init`, for inputs like `example`.
        example: A batch of inputs (n, ...). On its first rows outputs, gradient and a Hessian
            product are compared with Flax's own in float64; whole numbers say that the net takes
            tokens. `problems.supervised` gives its data.
        smooth: Whether the net is free of kinks (of ReLU); None: see `Applied`.
        **options: For the module's `__call__`, as `train=False`.

    Raises:
        InputError: If Flax is not installed, the module draws random numbers or updates its
            averages, a layer computes in less than its weights' precision, or something differs.

    Cost: with an example a forward pass, and a gradient and a product of two kinds.

    Examples:
        >>> from flax import nnx
        >>> net = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
        >>> model = tw.models.from_flax(net, example=np.eye(2))
        >>> params = model.init(jax.random.key(0), (2,), 1, jnp.float64)  # the net's own, cast
        >>> bool(jnp.allclose(model.apply(params, jnp.eye(2)), net(jnp.eye(2))))
        True
        >>> type(model.to_framework(params)).__name__  # a module again
        'Linear'
    """
    with needing("flax"):
        from flax import linen, nnx
    if isinstance(net, nnx.Module):
        require(
            variables is None,
            "variables came with a module of NNX, which holds its own; leave them out",
        )
        return _of_nnx(net, example, smooth, options)
    require(
        isinstance(net, linen.Module),
        f"net came as {told(net)}; give a module of flax.nnx or flax.linen",
    )
    return _of_linen(net, variables, example, smooth, options)


@dataclasses.dataclass(frozen=True, eq=False)
class _CallsNNX:
    """The module as a function of weights, what it holds beside them, and a batch."""

    graph: Any
    like: Any
    whole: bool
    options: dict[str, Any]

    def module(self, params: Params, beside: Params) -> Any:
        from flax import nnx

        state = jax.tree.map(lambda leaf: leaf, self.like)  # a copy: it is written into
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(self.graph, state, beside)

    def __call__(self, params: Params, beside: Params, x: Any) -> Any:
        x = jnp.rint(x).astype(int) if self.whole else x
        return self.module(params, beside)(x, **self.options)


def _of_nnx(net: Any, example: Any, smooth: bool | None, options: dict[str, Any]) -> Network:
    from flax import nnx

    title = f"the Flax module {type(net).__name__}"
    parts: Any = nnx.split(net, nnx.Param, ...)
    graph, weights, beside = parts
    params = nnx.to_pure_dict(weights)
    whole = False
    if example is not None:
        rows = as_examples(example)

        def call(x: np.ndarray) -> Any:
            copy = nnx.merge(graph, double(weights), double(beside))
            copy(jnp.asarray(x), **options)
            after: Any = nnx.split(copy, nnx.Param, ...)
            _refuse_changes(net, beside, after[2], title)

        rows = taken(call, rows, title)
        whole = rows.dtype.kind in "iu"
    else:
        _refuse_active(net, title, f"{title} is in training mode")
    run = _CallsNNX(graph, weights, whole, options)
    model = Network(
        run,
        start=params,
        is_smooth=smooth,
        beside=beside,
        title=f"from_flax({type(net).__name__})",
        returned=lambda whole: run.module(whole, beside),
        verified=None if example is not None else lambda x: _of_nnx(net, x, smooth, options),
    )
    if example is None:
        return model
    layers = {_path(path): layer for path, layer in nnx.iter_modules(net)}
    narrows(model, rows, title, layers)

    def theirs(whole: Params) -> Any:
        module = run.module(whole, double(beside))
        return module(jnp.asarray(rows), **options)

    return held_against(model, theirs, rows, title)


def _path(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path)) or "the module itself"


def _refuse_active(net: Any, title: str, what: str) -> None:
    """Name the layers that are random or keep averages, if there are any."""
    from flax import nnx

    for path, layer in nnx.iter_modules(net):
        name = _path(path)
        require(
            not isinstance(layer, nnx.Dropout)
            or layer.deterministic is not False
            or not layer.rate,
            f"{what}: {name} is dropout, whose outputs are random; {EVALUATION}, after net.eval()",
        )
        require(
            not isinstance(layer, nnx.BatchNorm) or layer.use_running_average is not False,
            f"{what}: {name} is batch normalisation by the batch's own averages, which it keeps; "
            f"{EVALUATION}, after net.eval()",
        )


def _refuse_changes(net: Any, before: Any, after: Any, title: str) -> None:
    """Refuse a module of NNX that is another one after a call."""
    old = dict(jax.tree_util.tree_leaves_with_path(before))
    for path, leaf in jax.tree_util.tree_leaves_with_path(after):
        was = old.get(path)
        keys = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        if was is not None and (keys or np.array_equal(was, leaf, equal_nan=True)):
            continue
        _refuse_active(net, title, f"{title} changes by being called")
        name = ".".join(str(getattr(key, "key", "")) for key in path).rstrip(".")
        raise InputError(
            f"{title} changes by being called: {name} is written (dropout or batch statistics in "
            f"training?); {EVALUATION}, after net.eval()"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class _CallsLinen:
    """The module as a function of params, the other collections, and a batch."""

    net: Any
    whole: bool
    options: dict[str, Any]

    def __call__(self, params: Params, beside: Params, x: Any) -> Any:
        x = jnp.rint(x).astype(int) if self.whole else x
        return self.net.apply({"params": params, **beside}, x, **self.options)


def _of_linen(
    net: Any, variables: Any, example: Any, smooth: bool | None, options: dict[str, Any]
) -> Network:
    title = f"the Flax module {type(net).__name__}"
    require(
        variables is not None or example is not None,
        f"{title} came without variables; give variables=net.init(key, inputs), or example=inputs "
        "to have them drawn",
    )
    rows = None if example is None else as_examples(example)
    if variables is None:
        assert rows is not None
        rows = taken(lambda x: net.init(jax.random.key(0), jnp.asarray(x), **options), rows, title)
        shape = jnp.asarray(rows[:1])
        variables = net.init(jax.random.key(0), shape, **options)
        draw = partial(_draw, net, shape, options, title)
    else:
        draw = None
    params, beside = _collections(variables, title)
    if rows is not None:
        whole, fixed = double(params), double(beside)  # some layers take no mixture of types
        rows = taken(lambda x: _call_linen(net, whole, fixed, x, options, title), rows, title)
    run = _CallsLinen(net, rows is not None and rows.dtype.kind in "iu", options)
    model = Network(
        run,
        init_function=draw,
        start=None if draw else params,
        is_smooth=smooth,
        beside=beside,
        title=f"from_flax({type(net).__name__})",
        returned=lambda whole: {"params": whole, **beside},
        verified=None
        if rows is not None
        else lambda x: _of_linen(net, variables, x, smooth, options),
    )
    if rows is None:
        return model
    narrows(model, rows, title, {})

    def theirs(whole: Params) -> Any:
        collections = {"params": whole, **double(beside)}
        return net.apply(collections, jnp.asarray(rows), **options)

    return held_against(model, theirs, rows, title)


def _draw(net: Any, one: Any, options: dict[str, Any], title: str, key: Any) -> Params:
    return _collections(net.init(key, one, **options), title)[0]


def _collections(variables: Any, title: str) -> tuple[Params, dict[str, Any]]:
    """The collection that is trained, and the others."""
    variables = dict(variables.items()) if hasattr(variables, "items") else variables
    require(
        isinstance(variables, dict) and bool(variables),
        f"variables came as {told(variables)}; give those of net.init(key, inputs)",
    )
    if "params" not in variables:
        variables = {"params": variables}
    return variables["params"], {k: v for k, v in variables.items() if k != "params"}


def _call_linen(
    net: Any, params: Params, beside: Params, x: np.ndarray, options: dict[str, Any], title: str
) -> Any:
    """One call that refuses random layers and those that keep averages by their names."""
    from flax import linen

    def seen(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        layer = context.module
        name = ".".join(layer.path) or "the module itself"
        if context.method_name == "__call__" and isinstance(layer, linen.Dropout):
            off = _either(layer.deterministic, args[1:], kwargs, "deterministic")
            require(
                off is not False or layer.rate == 0,
                f"{title} is in training mode: {name} is dropout, whose outputs are random; "
                f"{EVALUATION}, as by deterministic=True or train=False",
            )
        if context.method_name == "__call__" and isinstance(layer, linen.BatchNorm):
            still = _either(layer.use_running_average, args[1:], kwargs, "use_running_average")
            require(
                still is not False,
                f"{title} is in training mode: {name} is batch normalisation by the batch's own "
                f"averages, which it keeps; {EVALUATION}, as by train=False",
            )
        return call(*args, **kwargs)

    with linen.intercept_methods(seen):
        return net.apply({"params": params, **beside}, jnp.asarray(x), **options)


def _either(own: Any, positional: Any, named: Any, name: str) -> Any:
    """What a layer was told, by its field or in the call."""
    given = positional[0] if positional else named.get(name)
    return own if given is None else given
