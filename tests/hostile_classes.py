"""Right calls of the classes that users make themselves, beside the functions of `hostile`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import thalweg as tw
from hostile import KEY, X, Y


def calls() -> dict[str, dict[str, Any]]:
    """Arguments by "room.Class", and of functions of rooms that `hostile` does not list."""
    P, M = tw.problems, tw.models
    one = P.Quadratic(np.ones(2), np.ones(2), np.ones(2))
    net, loss = M.mlp([3], "relu"), P.LOSSES["squared-error"]
    seen = P.observed_entries(KEY, np.arange(12.0).reshape(4, 3), 6)
    batches = tw.oracles.minibatch(2)
    return {
        "problems.Decayed": {"problem": one, "weight_decay": 0.1},
        "problems.Penalised": {
            "problem": one,
            "penalty": lambda p: jnp.sum(p**2),
            "strength": 0.1,
            "is_smooth": True,
        },
        "problems.DeepLinear": {"target": np.ones((3, 2)), "correlation": np.eye(2), "draw": None},
        "problems.Factorisation": {
            "target": np.ones((3, 2)),
            "start": [np.ones((2, 2)), np.ones((3, 2))],
        },
        "problems.NormalisedRegression": {"inputs": X, "targets": Y[:, 0], "norm": 1.0},
        "problems.NormalisedCompletion": {"observed": seen, "depth": 2, "norm": 1.0},
        "problems.MatrixFactorisation": {
            "observed": seen,
            "depth": 2,
            "scale": 1e-3,
            "start": "gaussian",
            "width": 3,
            "reduction": "mean",
        },
        "problems.Quadratic": {"curvature": np.ones(2), "slope": np.ones(2), "start": np.ones(2)},
        "problems.SquaresModel": {"scale": 1.0},
        "problems.Supervised": {
            "model": net,
            "loss": loss,
            "inputs": X,
            "targets": Y,
            "reduction": "mean",
            "classification": False,
            "source": (),
            "microbatch": None,
        },
        "problems.Function": {"function": lambda p: jnp.sum(p**2), "start": np.ones(2)},
        "problems.WaveMedia": {
            "speeds": np.ones((2, 4)),
            "time_step": 0.1,
            "responses": np.ones((2, 4)),
        },
        "models.Convolution": {"filters": 2, "kernel": 3, "stride": 1, "padding": 0, "pool": 1},
        "models.ConvResNet": {
            "stages": [M.Stage(2, 1)],
            "hidden": (),
            "activation": "relu",
            "skip": 1.0,
            "normalised": True,
            "initialiser": "he-normal",
            "fixed": None,
        },
        "models.Stage": {"filters": 2, "blocks": 1},
        "models.MeanFieldNet": {"width": 3},
        "models.ModeTree": {"order": (0, 1), "children": (M.ModeTree((0,)), M.ModeTree((1,)))},
        "models.OperatorRecurrent": {
            "layers": 2,
            "blocks": 1,
            "rank": None,
            "activation": "relu",
            "tied": False,
            "readout": True,
            "first": None,
            "fixed": None,
            "gain": 1.0,
        },
        "models.WeightNormalised": {"model": net, "sphere": False},
        "models.Activation": {"function": jnp.tanh, "smooth": True, "slopes": None},
        "curvature.AffineSet": {"centre": np.ones(3), "normal": np.eye(3)[:, :1]},
        "curvature.Matrix": {"values": np.eye(3)},
        "oracles.Directions": {"count": 1, "law": "normal", "differences": True, "smoothing": None},
        "oracles.Isotropic": {"sigma": 0.1},
        "oracles.LabelNoise": {"sigma": 0.1, "single": False, "law": "normal"},
        "oracles.MiniBatch": {"batch": 2, "replace": False},
        "oracles.Saga": {"batch": 2},
        "oracles.Anchored": {
            "batches": batches,
            "period": 3,
            "recursive": False,
            "reference": None,
        },
        "oracles.RandomRefresh": {
            "batches": batches,
            "period": 3,
            "recursive": True,
            "reference": None,
            "chance": 0.5,
        },
        "oracles.gaussian": {"sigma": lambda p: jnp.eye(2), "columns": None},
        "oracles.page": {"batch": 2, "chance": 0.5},
        "oracles.particle_noise": {
            "inverse_temperature": 1.0,
            "step_size": 0.1,
            "width": 3,
            "convention": "gibbs",
        },
        "trajectory.staying_share": {
            "exits": [1.0, 2.0],
            "times": [1.0],
            "followed": 3.0,
            "confidence": 0.95,
        },
        "theory.make_prediction": {
            "name": "a",
            "unit": "1",
            "kind": "exact",
            "holds": "always",
            "at": lambda t: np.zeros_like(t),
            "source": "x",
        },
        "probes.Every": {"probe": tw.probes.loss(), "period": 2},
        "dynamics.Online": {"base": tw.gradient_descent(0.1)},
        "dynamics.Noisy": {"base": tw.gradient_descent(0.1), "oracle": batches, "label": ""},
        "dynamics.WithLimit": {"base": tw.gradient_descent(0.1), "flow": tw.gradient_flow()},
        "dynamics.GradientDescent": {"step_size": 0.1},
        "problems.Loss": {
            "name": "a",
            "one": lambda o, t: jnp.sum((o - t) ** 2),
            "task": "regression",
        },
    }


def results(folder: Path) -> dict[str, Any]:
    """What the verbs of the library return, small, by the name of its class."""
    one = tw.problems.Quadratic([2.0, 1.0], [0.0, 1.0], [1.0, 1.0])
    measured = {"probes": [tw.probes.sharpness()], "progress": False, "seeds": 2}
    run = tw.run(one, tw.gradient_descent(0.1), 0.4, records=4, **measured)
    swept = tw.sweep(
        one, [tw.gradient_descent(0.1), tw.gradient_descent(0.2)], until=0.4, records=2,
        progress=False,
    )  # fmt: skip
    return {
        "Trajectory": run,
        "Comparison": tw.compare(run, tw.run(one, tw.gradient_flow(), 0.4, records=4, **measured)),
        "Diagnosis": tw.diagnose(
            one, tw.gradient_descent(0.1), until=0.4, records=4, out=folder / "diagnosis"
        ),
        "Sweep": swept,
        "RegimeMap": swept.regimes(),
        "Race": tw.race(one, "gd", grid=[0.1], budget=4, records=2),
    }


METHODS: dict[str, dict[str, Any]] = {
    "Trajectory.reading": {"name": "loss"},
    "Trajectory.over_seeds": {"quantiles": [0.5]},
    "Trajectory.plot": {"what": "loss", "seeds": "lines", "log": True, "label": "a"},
    "Trajectory.to_netcdf": {"path": "run.nc"},
    "Comparison.page": {"folder": "page", "command": "", "read": ""},
    "Comparison.plot": {"what": "loss", "panel": ""},
    "Diagnosis.plot": {"what": "loss", "panel": ""},
    "Sweep.plot": {"what": "loss", "seed": 0, "log": True, "clock": "time"},
    "Sweep.member": {"index": 0},
    "Sweep.regimes": {
        "eps": 0.1, "flow_error": 1e-2, "flow_solver": "auto", "most_gradients": 1000,
        "progress": False,
    },
    "RegimeMap.plot": {"what": "map", "panel": ""},
    "RegimeMap.page": {"folder": "map", "data": "", "command": ""},
    "Race.plot": {"what": "race", "panel": ""},
}  # fmt: skip
