"""A PyTorch net with its loss as one function of JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core.errors import InputError
from thalweg.models.frameworks import Network, from_torch
from thalweg.models.frameworks.agreement import TOLERANCE, relative_gap
from thalweg.models.frameworks.torch_modules import exported_function

Objective = Callable[..., Any]  # of weights, what is held beside them, inputs and targets


def translated(net: Any, loss: Callable[..., Any], x: Any, y: Any) -> tuple[Network, Objective]:
    """The net as a model, and the loss of it as a function of weights, buffers, inputs, targets.

    Args:
        net: In double precision, as it is to be measured.
        loss: Of outputs and targets.
        x: Inputs, a tensor.
        y: Targets.

    Raises:
        InputError: If the net or the loss cannot be carried over, or differs from PyTorch's.
    """
    import torch

    model = from_torch(net, x.numpy(), batch_statistics=True)
    with torch.no_grad():
        out = net(x)
    out = out.detach().requires_grad_()
    evaluated = exported_function(loss, (out.detach(), y), "the loss")
    value = loss(out, y)
    (slope,) = torch.autograd.grad(value, out)
    mine, mine_slope = jax.value_and_grad(evaluated)(
        jnp.asarray(out.detach().numpy()), jnp.asarray(y.numpy())
    )
    gap = max(
        relative_gap(np.asarray(mine), value.detach().numpy()),
        relative_gap(np.asarray(mine_slope), slope.numpy()),
    )
    if not gap <= TOLERANCE:
        raise InputError(f"the loss does not agree with PyTorch's in float64, by {gap:.1e}")

    def objective(weights: Any, beside: Any, x: Any, y: Any) -> Any:
        return evaluated(model.apply_function(weights, beside, x), y)

    return model, objective
