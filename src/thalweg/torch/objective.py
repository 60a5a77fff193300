"""A PyTorch net with its loss as a function of its weights: values, gradients, Hessian products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from thalweg.core.arguments import told
from thalweg.core.errors import InputError, reason
from thalweg.models.frameworks.torch_modules import copied
from thalweg.models.frameworks.torch_truth import without_fused_kernels

APART = 1e-6  # of the weights' length, between which differences of gradients are taken


class Copy:
    """A copy of a net and its loss, on a device and in a type of its own.

    Args:
        net: A module.
        loss: Of outputs and targets.
        title: What the net is called.
        training: The mode of the copy; dropout is off either way.
        dtype: Of the copy, floating-point.
        device: Where it lives.

    Raises:
        InputError: If it cannot be copied.
    """

    def __init__(
        self, net: Any, loss: Any, title: str, training: bool, dtype: Any, device: Any
    ) -> None:
        import torch

        self.net = _fixed_dropout(copied(net, title, device, dtype).train(training))
        if isinstance(loss, torch.nn.Module):
            loss = copied(loss, "the loss", device, dtype)
        self.loss = loss
        self.title, self.dtype, self.device, self.exact = title, dtype, device, True
        self.weights = [p for p in self.net.parameters() if p.requires_grad]
        # The kernels of these have no second derivatives.
        self.recurrent = any(isinstance(m, torch.nn.RNNBase) for m in self.net.modules())
        self.batch: Any = None
        self.slopes: Any = None

    def load(self, net: Any, batch: Any) -> None:
        """Take over the present weights and buffers, and a batch."""
        import torch

        theirs = [*net.parameters(), *net.buffers()]
        with torch.no_grad():
            mine = [*self.net.parameters(), *self.net.buffers()]
            for own, other in zip(mine, theirs, strict=True):
                own.copy_(other)
        self.batch = tuple(self.cast(part) for part in batch)

    def cast(self, part: Any) -> Any:
        """A tensor on the copy's device, in its type where it is of floating-point numbers."""
        dtype = self.dtype if part.is_floating_point() else part.dtype
        return part.detach().to(device=self.device, dtype=dtype)

    @contextmanager
    def kernels(self) -> Iterator[None]:
        """PyTorch without kernels that it cannot differentiate twice."""
        import torch

        with without_fused_kernels(), torch.enable_grad():
            if not self.recurrent:
                yield
                return
            with torch.backends.cudnn.flags(enabled=False), torch.backends.mkldnn.flags(False):
                yield

    def value(self) -> Any:
        """The loss at the weights, a tensor with its history.

        Raises:
            InputError: If the net or the loss refuses the batch, or the loss is not one number.
        """
        import torch

        x, y = self.batch
        try:
            value = self.loss(self.net(x), y)
        except Exception as error:  # a user's net may raise anything
            raise InputError(
                f"{self.title} or its loss does not take this batch: {reason(error)}"
            ) from error
        one = isinstance(value, torch.Tensor) and value.numel() == 1 and value.is_floating_point()
        if not one:  # in words only if need be
            raise InputError(
                f"the loss came as {told(value)}; let it give one real number, as by "
                "reduction='mean'"
            )
        return value.reshape(())

    def linearise(self, again: bool) -> tuple[Any, Any]:
        """Loss and flat gradient; whatever products need is kept until `release` if asked."""
        import torch

        keep = again and self.exact
        with self.kernels():
            value = self.value()
            slopes = torch.autograd.grad(
                value, self.weights, create_graph=keep, materialize_grads=True
            )
            # One tensor in a row, so that a product hands over one direction and not one a weight.
            row = torch.cat([g.reshape(-1) for g in slopes])
        if keep:
            self.slopes = row
        return value.detach(), row.detach()

    def product(self, v: Any) -> Any:
        """The Hessian times a flat vector: a backward pass through the gradient's graph."""
        import torch

        if not self.exact:
            return self.difference(v)
        if not self.slopes.requires_grad:  # linear in the weights
            return torch.zeros_like(v)
        found = torch.autograd.grad(
            self.slopes, self.weights, v, retain_graph=True, materialize_grads=True
        )
        return torch.cat([g.reshape(-1) for g in found])

    def difference(self, v: Any, apart: float = APART) -> Any:
        """The same by a central difference of gradients, for nets whose second derivatives fail."""
        import torch

        kept = [p.detach().clone() for p in self.weights]
        length = float(sum(p.square().sum() for p in kept)) ** 0.5
        share = apart * (length or 1.0) / float(v.norm())

        def at(share: float) -> Any:
            with torch.no_grad():
                for p, old, part in zip(self.weights, kept, self.parts(v), strict=True):
                    p.copy_(old + share * part)
            return self.linearise(again=False)[1]

        try:
            return (at(share) - at(-share)) / (2 * share)
        finally:
            with torch.no_grad():
                for p, old in zip(self.weights, kept, strict=True):
                    p.copy_(old)

    def parts(self, v: Any) -> list[Any]:
        """A flat vector, shaped as the weights."""
        pieces = v.split([p.numel() for p in self.weights])
        return [piece.view_as(p) for piece, p in zip(pieces, self.weights, strict=True)]

    def release(self) -> None:
        """Let go of the gradient's graph."""
        self.slopes = None


def _fixed_dropout(net: Any) -> Any:
    """The module with everything that drops out at random switched off, in its present mode."""
    import torch
    from torch.nn.modules.dropout import _DropoutNd

    for layer in net.modules():
        if isinstance(layer, _DropoutNd):
            layer.eval()
        if isinstance(layer, torch.nn.MultiheadAttention | torch.nn.RNNBase):
            layer.dropout = 0.0
    return net


def flat(tensors: Any) -> Any:
    """Tensors in a row, without their history."""
    import torch

    return torch.cat([t.detach().reshape(-1) for t in tensors])
