"""Networks of PyTorch measured here: agreement, a sharpness beside peers, the overhead in a loop.

All contestants measure the same net in double precision on the same examples until the error that
they can state is below the same tolerance. Ours bounds what it may have missed, and is asked for
the residual alone as well, against which the others are held (times as long): of them that is the
residual ||H v - value v||, which ARPACK stops at and PyHessian is given smaller and smaller
tolerances for. What each is truly off by is taken from a search to 1e-10.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from timing import clock_for, limit_threads, machine, options, show
from torch import nn

import thalweg as tw

TOLERANCE = 1e-2
Clock = Callable[[], float]


class Setting(NamedTuple):
    """A net, its examples and its labels, in double precision."""

    net: nn.Module
    x: torch.Tensor
    y: torch.Tensor

    @property
    def size(self) -> int:
        return sum(p.numel() for p in self.net.parameters())


class Residual(nn.Module):
    """A residual block of normalised dense layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(width), nn.Linear(width, width)
        self.outer = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.outer(nn.functional.gelu(self.inner(self.norm(x))))


class Last(nn.Module):
    """The last state of a recurrent layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0][:, -1]


def settings(quick: bool) -> dict[str, Setting]:
    """Nets on random examples, in evaluation mode."""
    torch.manual_seed(0)
    n = 32 if quick else 256
    image, rows = torch.randn(n, 1, 16, 16), torch.randn(n, 16, 32)
    nets = {
        "MLP 64-64": (
            nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh()),
            64,
            torch.randn(n, 64),
        ),
        "residual MLP": (nn.Sequential(Residual(64), Residual(64)), 64, torch.randn(n, 64)),
        "conv + batch norm + GELU": (
            nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.GELU(), nn.MaxPool2d(2),
                nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.GELU(),
                nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            ),
            128,
            image,
        ),
        "transformer": (
            nn.Sequential(
                nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu"),
                nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu"),
                nn.Flatten(),
            ),
            512,
            rows,
        ),
        "LSTM": (Last(nn.LSTM(32, 32, batch_first=True)), 32, rows),
    }  # fmt: skip
    labels = torch.randint(0, 10, (n,))
    return {
        name: Setting(
            nn.Sequential(*(net, nn.Linear(width, 10))).double().eval(), x.double(), labels
        )
        for name, (net, width, x) in nets.items()
    }


def timed(work: Callable[[], Any], clock: Clock) -> tuple[float, Any]:
    """Seconds that something takes, and what it gives."""
    begun = clock()
    found = work()
    return clock() - begun, found


def agreement(found: dict[str, Setting], clock: Clock) -> list[list[str]]:
    """What outputs, a gradient and a Hessian product differ by from double backward."""
    rows = []
    for name, (net, x, _) in found.items():
        begun = clock()
        gaps = tw.models.from_torch(net, x.numpy()).agreement
        seconds = clock() - begun
        parts = (gaps.outputs, gaps.gradient, gaps.product)
        rows.append([name, *(f"{gap:.0e}" for gap in parts), f"{seconds:.1f} s"])
    return rows


def product_of_pytorch(s: Setting) -> Callable[[np.ndarray], np.ndarray]:
    """Double backward, through a graph that is kept: the least that PyTorch can do."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    weights = list(s.net.parameters())
    with sdpa_kernel(SDPBackend.MATH):
        loss = nn.functional.cross_entropy(s.net(s.x), s.y)
        slopes = torch.autograd.grad(loss, weights, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in slopes])

    def product(v: np.ndarray) -> np.ndarray:
        found = torch.autograd.grad(flat, weights, torch.as_tensor(v), retain_graph=True)
        return torch.cat([g.reshape(-1) for g in found]).numpy()

    return product


def truth(s: Setting) -> float:
    """The largest eigenvalue to 1e-10."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    operator = LinearOperator((s.size,) * 2, matvec=product_of_pytorch(s), dtype=np.float64)
    return float(eigsh(operator, k=1, which="LA", tol=1e-10, return_eigenvectors=False)[0])


def by_curvlinops(s: Setting) -> tuple[float, int]:
    """curvlinops' Hessian under ARPACK, stopped at the tolerance."""
    from curvlinops import HessianLinearOperator
    from scipy.sparse.linalg import LinearOperator, eigsh
    from torch.nn.attention import SDPBackend, sdpa_kernel

    weights = list(s.net.parameters())
    with sdpa_kernel(SDPBackend.MATH):
        data = [(s.x, s.y)]
        operator = HessianLinearOperator(
            s.net, nn.CrossEntropyLoss(), weights, data, check_deterministic=False
        ).to_scipy()
        spent = [0]

        def product(v: np.ndarray) -> np.ndarray:
            spent[0] += 1
            return operator @ v

        counted = LinearOperator(operator.shape, matvec=product, dtype=np.float64)
        start = np.random.default_rng(0).normal(size=s.size)
        how: dict[str, Any] = {"which": "LA", "tol": TOLERANCE, "v0": start, "ncv": 8}
        value = float(eigsh(counted, k=1, return_eigenvectors=False, **how)[0])
    return value, spent[0]


def by_pyhessian(s: Setting) -> tuple[float, int]:
    """PyHessian's power iteration, its own tolerance small enough for the residual."""
    from importlib import import_module

    from torch.nn.attention import SDPBackend, sdpa_kernel

    module = import_module("pyhessian.hessian")
    original, spent = module.hessian_vector_product, [0]

    def counted(*arguments: Any) -> Any:
        spent[0] += 1
        return original(*arguments)

    module.hessian_vector_product = counted
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            hessian = module.hessian(s.net, nn.CrossEntropyLoss(), data=(s.x, s.y), cuda=False)
            values, _ = hessian.eigenvalues(top_n=1, tol=NEEDED[s.size], maxIter=1000)
    finally:
        module.hessian_vector_product = original
        torch.set_default_dtype(default)
        s.net.zero_grad()
    return float(values[0]), spent[0]


def needed_by_pyhessian(s: Setting) -> float:
    """The tolerance at which its residual is below ours; it stops when its value moves less.

    Power iteration from a random vector is followed here, where residuals cost nothing.
    """
    product, torch_seed = product_of_pytorch(s), np.random.default_rng(0)
    v, last = torch_seed.normal(size=s.size), 0.0
    for _ in range(1000):
        v = v / np.linalg.norm(v)
        image = product(v)
        value = float(v @ image)
        moved = abs(value - last) / (abs(last) + 1e-6)
        if np.linalg.norm(image - value * v) <= TOLERANCE * abs(value):
            return moved
        v, last = image, value
    return moved


NEEDED: dict[int, float] = {}
PEERS = {
    "curvlinops + ARPACK": ("curvlinops", by_curvlinops),
    "PyHessian": ("pyhessian", by_pyhessian),
}


def sharpness(found: dict[str, Setting], clock: Clock) -> list[list[str]]:
    """Seconds to a sharpness, and to a product, of everybody."""
    rows = []
    for name, s in found.items():
        right = truth(s)
        NEEDED[s.size] = needed_by_pyhessian(s)
        batch = (s.x, s.y)
        for bound in (True, False):
            track = tw.torch.Tracker(
                s.net, nn.CrossEntropyLoss(), quantities="sharpness", tolerance=TOLERANCE,
                bound=bound,
            )  # fmt: skip
            ours, record = timed(lambda t=track, b=batch: t.measure(b), clock)
            value, error, _ = (float(part) for part in record["sharpness"])
            track.spectrum.kept.clear()  # a search from nothing, without what comes once
            seconds, again = timed(lambda t=track, b=batch: t.measure(b), clock)
            each, once = seconds / again.products, max(ours - seconds, 0.0)
            rows.append(
                [
                    f"{name}, {s.size} parameters" if bound else "",
                    "thalweg",
                    f"{value / right - 1:+.0e}",
                    f"{error / right:.0e}, {'bound' if bound else 'residual'}",
                    str(record.products),
                    f"{ours:.2f} s",
                    f"{each * 1e3:.0f} ms",
                    f"{once:.2f} s once",
                ]
            )
        for peer, (module, ask) in PEERS.items():
            if find_spec(module) is None:
                continue
            seconds, (value, products) = timed(lambda s=s, ask=ask: ask(s), clock)
            theirs = seconds / products
            rows.append(
                [
                    "",
                    peer,
                    f"{value / right - 1:+.0e}",
                    f"{TOLERANCE:.0e}, residual",
                    str(products),
                    f"{seconds:.2f} s ({seconds / ours:.1f}x)",
                    f"{theirs * 1e3:.0f} ms ({theirs / each:.1f}x)",
                    f"{20 * theirs / (once + 20 * each):.1f}x",
                ]
            )
    return rows


def overhead(found: dict[str, Setting], steps: int, clock: Clock) -> list[list[str]]:
    """A loop of full-batch SGD with and without a record every tenth step."""
    rows = []
    for name, s in found.items():
        optimiser = torch.optim.SGD(s.net.parameters(), 1e-2, momentum=0.9)
        track = tw.torch.Tracker(
            s.net, nn.CrossEntropyLoss(), quantities="sharpness", tolerance=TOLERANCE
        )
        first, _ = timed(lambda t=track, s=s: t.measure((s.x, s.y)), clock)
        spent, measured, products = 0.0, 0.0, []
        for step in range(steps):
            begun = clock()
            optimiser.zero_grad()
            nn.functional.cross_entropy(s.net(s.x), s.y).backward()
            optimiser.step()
            spent += clock() - begun
            if step % 10 == 9:
                seconds, record = timed(lambda t=track, s=s: t.measure((s.x, s.y)), clock)
                measured += seconds
                products.append(record.products)
        rows.append(
            [
                f"{name}, {s.size} parameters",
                f"{spent / steps * 1e3:.1f} ms",
                f"{measured / len(products) * 1e3:.1f} ms",
                f"{np.mean(products):.1f}",
                f"{measured / spent:.0%}",
                f"{first:.1f} s",
            ]
        )
    return rows


def main() -> None:
    """Print the tables."""
    asked = options(__doc__)
    limit_threads(asked.threads)
    print(machine(asked.threads), f"PyTorch {torch.__version__}")
    found, clock = settings(asked.quick), clock_for(asked.threads)
    columns = ["net", "outputs", "gradient", "Hessian product", "export and check"]
    show("Relative differences from double backward, float64", columns, agreement(found, clock))
    columns = ["net", "by", "off by", "error said", "products", "time", "a product", "20 products"]
    show(f"Sharpness to {TOLERANCE:.0e}, float64", columns, sharpness(found, clock))
    columns = ["net", "a step", "a record", "products", "overhead, every 10 steps", "first record"]
    show("Tracking a loop", columns, overhead(found, 20 if asked.quick else 300, clock))


if __name__ == "__main__":
    main()
