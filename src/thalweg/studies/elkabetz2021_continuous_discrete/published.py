"""The paper's nets on images of MNIST, beside the end points of its published curves (X3)."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np
import xarray as xr

from thalweg.core import tree
from thalweg.dynamics import gradient_descent
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import ConvNet
from thalweg.problems import supervised
from thalweg.studies.elkabetz2021_continuous_discrete.training import nets, paper_images

# Read off the paper's figures at iteration 10000: loss, and distance of the weights from the start.
CURVES = {"linear": (0.09, 2.6), "relu": (0.10, 3.0), "conv": (0.04, 2.9), "lenet": (0.03, 2.55)}
UNTIL = 10.0  # 10000 steps of 0.001


@dataclass(frozen=True)
class Published:
    """Which of the paper's nets are trained, and how finely.

    Attributes:
        models: Names of nets.
        step_size: The paper's is 0.001; larger ones reach the same training time.
        until: Training time.
        samples: Images; the paper has 1000.
        records: Taken on the way.
    """

    models: tuple[str, ...] = ("linear", "relu")
    step_size: float = 0.01
    until: float = UNTIL
    samples: int = 1000
    records: int = 20


@experiment(
    "X3-published",
    Published(),
    smoke={"until": 0.2, "samples": 100, "records": 2},
    full={"models": tuple(CURVES), "step_size": 0.001, "records": 100},
)
def published(lab: Lab, size: Published) -> xr.Dataset:
    """Loss and distance travelled of the paper's nets at its size, and what it published."""
    found = over(lambda model: _trained(lab, size, model), model=list(size.models))
    return found.assign_attrs(step_size=size.step_size, steps=round(size.until / size.step_size))


def _trained(lab: Lab, size: Published, name: str) -> xr.Dataset:
    model = nets(paper=True)[name]
    data = paper_images(isinstance(model, ConvNet), size.samples)
    problem = supervised(model, data, "cross-entropy")
    run = lab.run(
        f"published-{name}", problem, gradient_descent(size.step_size),
        until=size.until, records=size.records,
    )  # fmt: skip
    weights = tree.entries(jax.eval_shape(problem.init, jax.random.key(0)), "weight")
    path = run.parameters.values[0][:, weights]  # the paper leaves biases out of distances
    loss, moved = run.dataset["loss"].values[0], np.linalg.norm(path - path[0], axis=1)
    end = np.arange(len(loss)) == len(loss) - 1  # nothing is published of what lies before
    there, away = (np.where(end, value, np.nan) for value in CURVES[name])
    return table(
        {
            "": {"mnist": (int("MNIST" in data.description["source"]), "1", "images are of MNIST")},
            "time": {
                "loss": (loss, "loss", "loss"),
                "displacement": (moved, "parameter", "distance from the start"),
                "published_loss": (there, "loss", "published"),
                "published_displacement": (away, "parameter", "published"),
            },
        },
        time=run.dataset["time"].values,
    )
