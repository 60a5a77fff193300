"""A net of ours in PyTorch, and what peers say of its Hessian's extreme eigenvalues."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch

import thalweg as tw

ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


class Twin(NamedTuple):
    """The net, the loss and the data, in the precision of the problem.

    PyTorch's mean square is over outputs too and has no half: our loss is `scale` times theirs.
    """

    net: torch.nn.Sequential
    loss: torch.nn.Module
    x: torch.Tensor
    y: torch.Tensor
    scale: float


class Answer(NamedTuple):
    """What a peer says: values, outermost first, its own error (NaN if none), products spent."""

    values: np.ndarray
    errors: np.ndarray
    products: int


def twin(problem: tw.problems.Supervised, params: Any) -> Twin:
    """The same function of the same parameters: dense or convolutional, tanh or ReLU."""
    model = problem.model
    convolutions = getattr(model, "convolutions", ())
    layers: list[torch.nn.Module] = []
    for j, layer in enumerate(params):
        weight = torch.tensor(np.asarray(layer["weight"]))
        if j < len(convolutions):
            c = convolutions[j]
            here: torch.nn.Module = torch.nn.Conv2d(
                weight.shape[1], c.filters, c.kernel, c.stride, c.padding, dtype=weight.dtype
            )
        else:
            here = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
        with torch.no_grad():
            here.weight.copy_(weight)
            here.bias.copy_(torch.tensor(np.asarray(layer["bias"])))
        if convolutions and j == len(convolutions):
            layers.append(torch.nn.Flatten())
        layers.append(here)
        if j + 1 < len(params):
            layers.append(ACTIVATIONS[model.activation]())  # type: ignore[attr-defined]
    x = torch.tensor(np.asarray(problem.inputs))
    x = x if convolutions else x.reshape(len(x), -1)
    net, targets = torch.nn.Sequential(*layers), torch.tensor(np.asarray(problem.targets))
    if problem.loss.name == "cross-entropy":
        return Twin(net, torch.nn.CrossEntropyLoss(), x, targets.argmax(1), 1.0)
    return Twin(net, torch.nn.MSELoss(), x, targets, targets.shape[1] / 2)


def curvlinops_arpack(t: Twin, k: int, which: str, seed: int) -> Answer:
    """curvlinops' Hessian in SciPy's eigsh at its default tolerance (machine precision)."""
    from curvlinops import HessianLinearOperator
    from scipy.sparse.linalg import LinearOperator, eigsh

    H = HessianLinearOperator(t.net, t.loss, list(t.net.parameters()), [(t.x, t.y)])
    inner, spent = H.to_scipy(), [0]

    def product(v: np.ndarray) -> np.ndarray:
        spent[0] += 1
        return inner @ v

    counted = LinearOperator(inner.shape, matvec=product, dtype=np.float64)
    start = np.random.default_rng(seed).normal(size=inner.shape[0])
    values = np.sort(eigsh(counted, k=k, which=which, v0=start, return_eigenvectors=False))
    values = t.scale * (values if which == "SA" else values[::-1])
    return Answer(values, np.full(k, np.nan), spent[0])


def pyhessian_defaults(t: Twin, k: int, which: str, seed: int) -> Answer:
    """PyHessian's power iteration with deflation (largest in magnitude only)."""
    # The package hides this module behind a class of the same name.
    module = import_module("pyhessian.hessian")
    torch.manual_seed(seed)
    spent = [0]
    original = module.hessian_vector_product

    def counted(*arguments: Any) -> Any:
        spent[0] += 1
        return original(*arguments)

    module.hessian_vector_product = counted
    default = torch.get_default_dtype()
    torch.set_default_dtype(t.x.dtype)
    try:
        values, _ = module.hessian(t.net, t.loss, data=(t.x, t.y), cuda=False).eigenvalues(top_n=k)
    finally:
        module.hessian_vector_product = original
        torch.set_default_dtype(default)
        t.net.zero_grad()
    return Answer(t.scale * np.asarray(values), np.full(k, np.nan), spent[0])


def eigenthings_defaults(t: Twin, k: int, which: str, seed: int) -> Answer:
    """hessian-eigenthings' Lanczos with its default number of steps."""
    from hessian_eigenthings import HessianOperator, lanczos, supervised_loss

    class Counted(HessianOperator):
        spent = 0

        def matvec(self, *arguments: Any, **options: Any) -> Any:
            Counted.spent += 1
            return super().matvec(*arguments, **options)

    H = Counted(t.net, [(t.x, t.y)], supervised_loss(t.loss))
    found = lanczos(H, k=k, which=which, seed=seed)
    order = np.argsort(found.eigenvalues.numpy())
    order = order if which == "SA" else order[::-1]
    values, errors = (
        t.scale * np.asarray(part)[order] for part in (found.eigenvalues, found.residuals)
    )
    return Answer(values, errors, Counted.spent)


Peer = Callable[[Twin, int, str, int], Answer]
PEERS: dict[str, tuple[str, Peer]] = {
    "curvlinops + ARPACK": ("curvlinops", curvlinops_arpack),
    "PyHessian": ("pyhessian", pyhessian_defaults),
    "hessian-eigenthings": ("hessian_eigenthings", eigenthings_defaults),
}


def installed() -> dict[str, Peer]:
    """The peers that are here; a line says how to get the others."""
    missing = [module for module, _ in PEERS.values() if find_spec(module) is None]
    if missing:
        print(f"not installed, left out: {', '.join(missing)} (see docs/benchmarks.md)")
    return {name: ask for name, (module, ask) in PEERS.items() if module not in missing}
