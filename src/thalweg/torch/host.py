"""An objective that PyTorch evaluates, gradients and Hessian products by double backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.models.frameworks.torch_truth import without_fused_kernels


class Host:
    """A net and its loss on the CPU, called from within compiled programs.

    JAX sees a function that it can differentiate twice, forward over reverse, so that whatever
    measures an objective measures this one.

    Args:
        net: In double precision, not shared with anybody.
        loss: Of outputs and targets.
        names: Of the weights, in order.
    """

    def __init__(self, net: Any, loss: Callable[..., Any], names: list[str]) -> None:
        self.net, self.loss = net, loss
        weights = dict(net.named_parameters())
        self.weights = [weights[name] for name in names]
        self.batch: Any = None
        self.objective = self._differentiable()

    def load(self, buffers: dict[str, Any], batch: Any) -> None:
        """Take over buffers and the batch of one record; weights come with every call."""
        import torch

        own = dict(self.net.named_buffers())
        with torch.no_grad():
            for name, value in buffers.items():
                own[name].copy_(value)
        self.batch = batch

    def _written(self, theta: Any) -> None:
        import torch

        flat = torch.as_tensor(np.array(theta))
        begin = 0
        with torch.no_grad():
            for p in self.weights:
                p.copy_(flat[begin : begin + p.numel()].reshape(p.shape))
                begin += p.numel()

    def _value(self, theta: Any) -> Any:
        self._written(theta)
        x, y = self.batch
        return self.loss(self.net(x), y).reshape(())

    def _slopes(self, theta: Any, again: bool) -> Any:
        import torch

        return torch.autograd.grad(
            self._value(theta), self.weights, create_graph=again, materialize_grads=True
        )

    def value(self, theta: Any) -> np.ndarray:
        """The loss."""
        with without_fused_kernels():
            return self._value(theta).detach().numpy()

    def gradient(self, theta: Any) -> np.ndarray:
        """Its gradient, flat."""
        with without_fused_kernels():
            return _flat(self._slopes(theta, again=False))

    def product(self, theta: Any, vector: Any) -> np.ndarray:
        """Its Hessian times a vector, by double backward."""
        import torch

        with without_fused_kernels():
            slopes = self._slopes(theta, again=True)
            along = torch.as_tensor(np.array(vector))
            slope = torch.cat([g.reshape(-1) for g in slopes]) @ along
            if not slope.requires_grad:  # linear in the weights
                return np.zeros(len(along))
            found = torch.autograd.grad(slope, self.weights, materialize_grads=True)
            return _flat(found)

    def _differentiable(self) -> Callable[[Any], Any]:
        def asked(function: Callable[..., np.ndarray], shape: Any, *arguments: Any) -> Any:
            result = jax.ShapeDtypeStruct(shape, jnp.float64)
            return jax.pure_callback(function, result, *arguments, vmap_method="sequential")

        @jax.custom_jvp
        def value(theta: Any) -> Any:
            return asked(self.value, (), theta)

        @jax.custom_jvp
        def gradient(theta: Any) -> Any:
            return asked(self.gradient, theta.shape, theta)

        @value.defjvp
        def _(primals: Any, tangents: Any) -> Any:
            return value(*primals), gradient(*primals) @ tangents[0]

        @gradient.defjvp
        def _(primals: Any, tangents: Any) -> Any:
            (theta,), (along,) = primals, tangents
            return gradient(theta), asked(self.product, theta.shape, theta, along)

        return value


def _flat(tensors: Any) -> np.ndarray:
    return np.concatenate([t.detach().numpy().ravel() for t in tensors])
