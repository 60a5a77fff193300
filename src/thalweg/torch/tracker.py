"""Curvature in a training loop that stays in PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from thalweg.core.arguments import several, told
from thalweg.core.errors import InputError, reason, require, unknown
from thalweg.core.result import Reading, Result
from thalweg.models.frameworks.network import needing
from thalweg.torch.check import Verdict, verdict
from thalweg.torch.extremes import RECHECK, Ends, Extremes, reading
from thalweg.torch.objective import Copy
from thalweg.torch.optimisers import check_optimiser, preconditioner
from thalweg.torch.record import PRECONDITIONED, Record

QUANTITIES = ("loss", "gradient_norm", "sharpness", "smallest_eigenvalue")
ENDS = {"sharpness": "largest", "smallest_eigenvalue": "smallest"}
PRECISIONS = ("float64", "float32")
DOUBLE_BACKWARD = "PyTorch's double backward"


class Tracker:
    """Sharpness and its like of a net in a PyTorch loop, warm-started from record to record.

        track = thalweg.torch.Tracker(net, torch.nn.CrossEntropyLoss(), optimizer)
        for step, (x, y) in enumerate(batches):
            ...  # your own step
            if step % 10 == 0:
                record = track.measure(batch)
                record["sharpness"].value, record["sharpness"].error, record.seconds

    Measured is loss(net(x), y) at the net's present weights and buffers, by PyTorch itself, on a
    copy on the net's device: its mode, gradients, buffers and random state are left alone. Nothing
    is exported or compiled, so that any module serves which PyTorch differentiates twice. Measure
    on one fixed batch to follow one objective; a fresh batch each time gives numbers of that batch,
    and the warm start saves less.

    At the first record a Hessian product on four examples is held against differences of gradients
    in double precision. Where PyTorch's is wrong or missing (of `weight_norm`, of `hardsigmoid`),
    products are central differences of gradients in double precision, with their error;
    `record.by` then says so, and names the layer.

    value   loss, length of the gradient; the largest and the smallest Hessian eigenvalue, signed,
            loss/parameter^2
    error   of an eigenvalue: the largest lies in [value, value + error], the smallest in
            [value - error, value], with probability 0.995 at a recheck, the first record included;
            in between, unless another eigenvalue has overtaken since, with the residual
            ||H v - value v|| for an error: `record.unbounded` has their names. Rounding, measured
            in single precision, is in it. Of loss and gradient norm: 0 up to rounding
    result  NOT_CONVERGED if the error is above `tolerance` times |value|, for the smallest times
            the largest |eigenvalue|; NONFINITE after a divergence
    cost    a gradient, and with eigenvalues a product for each when training is slow, one more
            every fifth record; at a recheck, from a random start, 12 to 40. Of at most 256
            parameters every record is one; of more records 0, 5, 15, 35, ... are, twice as many
            apart each time while they find what was followed, at most `recheck`. A product takes
            as long as two or three training steps on the batch. `record` counts them. Memory: a
            vector for each product, three between rechecks, and the graph of a gradient. Once: a
            copy of the net in double precision on the CPU

    Args:
        net: A module; its parameters that require gradients are measured in.
        loss: Of outputs and targets, to one number: `torch.nn.CrossEntropyLoss()`, a function.
        optimizer: Of `torch.optim` (SGD, Adam, AdamW, RMSprop, Adagrad), whose present
            preconditioner then gives "preconditioned_sharpness": the largest eigenvalue of
            D^{-1/2} H D^{-1/2}, D that of its last step as `probes.preconditioned_sharpness` has it
            (L2 penalty and decoupled decay included), which a stable optimiser keeps below
            `record.threshold`. Of adaptive ones not measured before the first step.
        quantities: Some of "loss", "gradient_norm", "sharpness", "smallest_eigenvalue". All but
            the last are the default.
        training: Whether batch normalisation acts as in training, by the batch's averages: the
            loss that training sees. Dropout is switched off either way.
        precision: "float64" or "float32"; None: that of the net, single for a half.
        tolerance: Relative error asked of the sharpness.
        bound: Whether a recheck bounds what it may have missed. Without it ends at the residual,
            which says that an eigenvalue is near and not that it is the outermost, after about half
            as many products; that is what ARPACK and power iteration stop at.
        most_products: Products after which a search gives up.
        seed: Of the random directions.
        recheck: Records after which a recheck is due at the latest; 1 makes every record one, for
            a start whose symmetry training keeps.

    Raises:
        InputError: If an argument does not fit, or PyTorch is not installed.

    Source: Lanczos (1950); Cohen et al. (2021), section 2; the bound of van Dorsselaer,
    Hochstenbach and van der Vorst (2000).
    """

    def __init__(
        self,
        net: Any,
        loss: Callable[..., Any],
        optimizer: Any = None,
        quantities: str | Sequence[str] = QUANTITIES[:3],
        *,
        training: bool = False,
        precision: str | None = None,
        tolerance: float = 1e-2,
        bound: bool = True,
        most_products: int = 200,
        seed: int = 0,
        recheck: int = RECHECK,
    ) -> None:
        with needing("torch"):
            import torch
        require(
            isinstance(net, torch.nn.Module),
            f"net came as {told(net)}; give a PyTorch module, as torch.nn.Linear(4, 2)",
        )
        require(
            callable(loss) and not isinstance(loss, type),
            f"loss came as {told(loss)}; give a function of outputs and targets, as "
            "torch.nn.CrossEntropyLoss()",
        )
        self.quantities = tuple(several(quantities))
        for name in self.quantities:
            require(name in QUANTITIES, unknown(name, QUANTITIES, "quantity"))
        require(
            precision is None or precision in PRECISIONS,
            unknown(str(precision), PRECISIONS, "precision"),
        )
        require(
            0 < float(tolerance) < 1, f"tolerance came as {tolerance}; give one between 0 and 1"
        )
        require(most_products >= 1, f"most_products came as {most_products}; give at least 1")
        require(recheck >= 1, f"recheck came as {recheck}; give at least 1")
        # A compiled module cannot be differentiated twice; what it was made of can.
        net = getattr(net, "_orig_mod", net)
        self.title = f"the PyTorch module {type(net).__name__}"
        self.net, self.loss, self.optimizer, self.training = net, loss, optimizer, training
        self.weights = {n: p for n, p in net.named_parameters() if p.requires_grad}
        require(bool(self.weights), "net has no parameter that requires a gradient")
        self._check_weights()
        self.names = {id(p): name for name, p in self.weights.items()}
        if optimizer is not None:
            check_optimiser(optimizer, self.names)
        self.precision = precision
        ends = tuple(end for name, end in ENDS.items() if name in self.quantities)
        limits = float(tolerance), int(most_products), int(seed), bool(bound), int(recheck)
        self.spectrum = Extremes(ends, *limits) if ends else None
        self.scaled = Extremes(("largest",), *limits)
        self.copy: Copy | None = None
        self.found = Verdict("", 0.0)

    def _check_weights(self) -> None:
        import torch

        for name, p in self.weights.items():
            lazy = isinstance(p, torch.nn.parameter.UninitializedParameter)
            require(
                not lazy, f"{self.title} has not been called yet: {name} has no shape; call it once"
            )
            require(
                p.is_floating_point(),
                f"{self.title} has weights of {p.dtype} ({name}); keep real and imaginary parts as "
                "two real parameters",
            )

    def measure(self, batch: Any) -> Record:
        """What was asked for at the net's present weights.

        Args:
            batch: Inputs and targets, two tensors or arrays.

        Raises:
            InputError: If the net or the loss refuses the batch, the loss is not one number, or
                something draws random numbers.
        """
        begun = time.perf_counter()
        batch = self._batch(batch)
        if self.copy is None:
            self.copy = self._begun(batch)
        copy, readings, products = self.copy, {}, 0
        plain, unbounded = None, []
        copy.load(self.net, batch)
        scaling, threshold = self._scaling(copy)
        asked = set(self.quantities) - {"loss"} or scaling is not None
        try:
            if asked:
                value, gradient = copy.linearise(again=self.spectrum is not None or bool(scaling))
            else:
                with copy.kernels():
                    value, gradient = copy.value().detach(), None
            if "loss" in self.quantities:
                readings["loss"] = _exact(float(value))
            if "gradient_norm" in self.quantities:
                readings["gradient_norm"] = _exact(float(gradient.norm()))
            if self.spectrum is not None:
                plain = self.spectrum.measure(copy.product, gradient, self.found.rounding)
                products += plain.products
                for name, end in ENDS.items():
                    if name in self.quantities:
                        readings[name] = plain.readings[end]
                        unbounded += [] if plain.bounded else [name]
            if scaling is not None:
                found = self._preconditioned(copy, gradient, scaling, plain)
                readings[PRECONDITIONED] = found.readings["largest"]
                products += found.products
                unbounded += [] if found.bounded else [PRECONDITIONED]
            elif self.optimizer is not None:
                readings[PRECONDITIONED] = reading(np.nan, np.nan, Result.NOT_MEASURED)
        finally:
            copy.release()
        by = DOUBLE_BACKWARD
        if self.found.wrong:
            by = f"differences of PyTorch's gradients ({self.found.wrong})"
        seconds = time.perf_counter() - begun
        gradients = int(bool(asked))
        return Record(readings, threshold, gradients, products, seconds, by, tuple(unbounded))

    def _preconditioned(self, copy: Copy, like: Any, scaling: Any, plain: Ends | None) -> Ends:
        """The largest of D^{-1/2} (H + decays) D^{-1/2} + shrinks; `plain` are those of H."""
        gains, decays, shrinks = scaling
        alike = all(bool((part == part[0]).all()) for part in scaling)
        if alike and plain is not None and "largest" in plain.readings:
            gain, decay, shrink = (float(part[0]) for part in scaling)  # the same vectors
            value, error, code = (float(part) for part in plain.readings["largest"])
            same = reading(gain * (value + decay) + shrink, gain * error, code)
            return Ends({"largest": same}, 0, plain.bounded)
        root = gains.sqrt()

        def product(v: Any) -> Any:
            return root * (copy.product(root * v) + decays * root * v) + shrinks * v

        return self.scaled.measure(product, like, self.found.rounding)

    def _batch(self, batch: Any) -> tuple[Any, Any]:
        """Inputs and targets as tensors."""
        import torch

        if not (isinstance(batch, tuple | list) and len(batch) == 2):  # in words only if need be
            raise InputError(f"batch came as {told(batch)}; give inputs and targets, as (x, y)")
        try:
            x, y = (torch.as_tensor(part).detach() for part in batch)
        except Exception as error:
            raise InputError(f"batch cannot be read as two tensors: {reason(error)}") from error
        return x, y

    def _begun(self, batch: Any) -> Copy:
        """A copy that measures, its products held against differences."""
        import torch

        first = next(iter(self.weights.values()))
        single = self.precision == "float32" or first.dtype != torch.float64
        dtype = torch.float32 if single and self.precision != "float64" else torch.float64
        copy = self._copied(dtype, first.device)
        copy.load(self.net, batch)
        with copy.kernels():
            copy.value()
        if self.spectrum is None and self.optimizer is None:
            return copy
        self.found = verdict(copy, self.net, self.loss, batch, self.title, self.training)
        if self.found.wrong and copy.dtype != torch.float64:
            copy = self._copied(torch.float64, first.device)
        copy.exact = not self.found.wrong
        return copy

    def _copied(self, dtype: Any, device: Any) -> Copy:
        import torch

        if device.type == "mps" and dtype == torch.float64:  # which it does not know
            device = torch.device("cpu")
        return Copy(self.net, self.loss, self.title, self.training, dtype, device)

    def _scaling(self, copy: Copy) -> tuple[Any, float | None]:
        """Gains, decays and shrinks, flat, and the threshold; None where nothing is known."""
        import torch

        if self.optimizer is None:
            return None, None
        found = preconditioner(self.optimizer, self.names)
        if found is None:
            return None, None
        parts = []
        for of in (found.gains, found.decays, found.shrinks):
            whole = [
                np.broadcast_to(of.get(name, 0.0), tuple(p.shape)).ravel()
                for name, p in self.weights.items()
            ]
            parts.append(copy.cast(torch.as_tensor(np.concatenate(whole))))
        return tuple(parts), found.threshold


def sharpness(
    net: Any, loss: Callable[..., Any], batch: Any, *, tolerance: float = 1e-2, **options: Any
) -> Reading:
    """The largest Hessian eigenvalue of a PyTorch net's loss, once, with its error.

    Args:
        net: A module, measured at its present weights; see `Tracker`.
        loss: Of outputs and targets, to one number.
        batch: Inputs and targets.
        tolerance: Relative error asked.
        **options: Of `Tracker`: `training`, `precision`, `bound`, `most_products`, `seed`.

    Returns:
        The true eigenvalue lies in [value, value + error] with probability 0.995, loss/parameter^2.

    Raises:
        InputError: As `Tracker` and its `measure`.

    Cost: 12 to 40 Hessian products.

    Examples:
        >>> import torch
        >>> net = torch.nn.Linear(2, 1, bias=False)
        >>> x, y = torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1)
        >>> found = tw.torch.sharpness(net, torch.nn.MSELoss(), (x, y))
        >>> round(float(found.value), 5)  # 2 x^T x / n
        9.0
    """
    track = Tracker(net, loss, None, "sharpness", tolerance=tolerance, **options)
    return track.measure(batch)["sharpness"]


def _exact(value: float) -> Reading:
    good = Result.OK if np.isfinite(value) else Result.NONFINITE
    return reading(value, 0.0, good)
