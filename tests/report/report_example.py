"""A run folder with every kind of thing a page can hold, built from closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from thalweg.report import ClaimRow, Figure, Level, Number, Page, Panel, Series, write_page
from thalweg.storage.datasets import save_dataset

NASTY = "<script>window.pwned = 1</script> & \"quotes\" 'single' </script><img src=x onerror=1>"


def modes() -> xr.Dataset:
    """Saxe's mode strengths s / (1 + (s/u0 - 1) exp(-2 s t)) with a noisy measurement beside."""
    time = np.linspace(0.0, 10.0, 400)
    s = np.array([3.0, 2.0, 1.2])[:, None]
    exact = s / (1 + (s / 0.01 - 1) * np.exp(-2 * s * time))
    wobble = 0.02 * np.sin(23 * time) * exact
    measured = exact + wobble
    measured[1, 150:180] = np.nan
    return xr.Dataset(
        {
            "theory": (("mode", "time"), exact, {"long_name": "mode strength", "units": "1"}),
            "strength": (("mode", "time"), measured, {"units": "1"}),
            "strength_error": (("mode", "time"), 0.05 * exact + 0.01),
            "threshold": ((), 2.0),
        },
        coords={"mode": [1, 2, 3], "time": ("time", time, {"units": "lr * step"})},
        attrs={"converged": True, "seeds": [0, 1], "note": NASTY},
    )


def descent() -> xr.Dataset:
    """A long run of four seeds: loss falls as 1/(1 + t), sharpness rises to 20 and hovers."""
    time = np.linspace(0.0, 100.0, 9001)
    seed = np.arange(4)[:, None]
    loss = (1 + 0.1 * seed) / (1 + time)
    hover = 0.4 * np.sin(40 * time + seed) * (time > 30)
    sharpness = 20 * np.minimum(1, 0.2 + time / 40) ** 1.5 + hover
    sharpness[3, 7000:] = np.nan
    return xr.Dataset(
        {"loss": (("seed", "time"), loss), "sharpness": (("seed", "time"), sharpness)},
        coords={"seed": np.arange(4), "time": time, "step": ("time", np.arange(9001))},
    )


def scaling() -> xr.Dataset:
    width = np.array([8, 16, 32, 64, 128, 256])
    return xr.Dataset(
        {
            "distance": (("width",), 2.0 / width, {"units": "1"}),
            "distance_error": (("width",), 0.3 / width),
            "spectrum": (("index",), np.sort(1 / np.arange(1.0, 31))[::-1]),
        },
        coords={"width": width},
    )


DATA = {"modes": modes, "descent": descent, "scaling": scaling}


def page() -> Page:
    strength = Panel(
        [
            Series(
                "modes",
                "strength",
                label="measured",
                each="mode",
                error="strength_error",
                group="m",
            ),
            Series("modes", "theory", label="theory", each="mode", style="dash", group="m"),
        ],
        title="All modes",
        x_label="training time",
        y_label="mode strength",
        levels=[Level(("modes", "threshold"), label="threshold")],
    )
    single = Panel(
        [
            Series("modes", "theory", select={"mode": 1}, label="strongest mode"),
            Series(
                "modes",
                "theory",
                select={"mode": 3},
                label="weakest mode, learned last, with a name that no phone has room for",
            ),
        ],
        title="Strongest",
        x_label="training time",
        y_label="mode strength",
        levels=[Level(2.3, label="half way", axis="x")],
    )
    edge = [
        Panel(
            [Series("descent", "loss", label="gradient descent", each="seed")],
            title="Loss",
            x_label="training time",
            y_label="loss",
            x_log=True,
            y_log=True,
        ),
        Panel(
            [Series("descent", "sharpness", label="gradient descent", each="seed")],
            title="Sharpness",
            x_label="training time",
            y_label="sharpness",
            levels=[Level(20.0, label="2/η = 20")],
        ),
    ]
    width = [
        Panel(
            [Series("scaling", "distance", x="width", error="distance_error", style="points")],
            title="Distance to flow",
            x_label="width",
            y_label="relative distance",
            x_log=True,
            y_log=True,
        ),
        Panel(
            [Series("scaling", "spectrum", x="index", style="steps", label="eigenvalues")],
            title="Spectrum of the example, in order, from the largest one on",
            x_label="index",
            y_label="eigenvalue",
            y_log=True,
        ),
        *edge,
    ]
    return Page(
        title="When does gradient descent follow gradient flow?",
        kind="study",
        question="Do the modes of a deep linear network grow along the sigmoids that theory gives, "
        "and does descent stay near flow until the sharpness reaches `2/η`?",
        verdict="Descent follows flow up to time 31.2; from there the sharpness hovers at 2/η and "
        "the two part.",
        verdict_tone="warn",
        numbers=[
            Number("Distance at equal time", 0.012345, 0.00067, "", "relative, at time 10"),
            Number(
                "Sharpness, last tenth",
                20.0312,
                0.04,
                "1/time",
                "threshold 2/eta",
                "The largest eigenvalue of the Hessian, lambda_max. Above 2/eta steps overshoot.",
            ),
            Number("Largest certified step", 3.4e-7, 2e-8, "time"),
            Number("Gradient evaluations", 1234567),
            Number("Regime", "edge of stability", note="from the sharpness and the distance"),
        ],
        paragraphs=[
            "The network has three layers of width 64 and is trained on whitened inputs, so that "
            "its singular modes decouple. Flow was integrated with `rtol=1e-8` in float64."
        ],
        figures=[
            Figure(
                "modes",
                "Mode strengths",
                "Lines: measured, with one standard error as a band; dashes: the closed form.",
                [strength, single],
            ),
            Figure("edge", "Edge of stability", "Four seeds of one run at step size 0.1.", edge),
            Figure("width", "Everything at once", "Four panels, as many as there can be.", width),
        ],
        claims=[
            ClaimRow(
                "C1",
                "Mode strengths follow the sigmoid.",
                "exact",
                "reproduced",
                0.0123,
                0.0,
                0.05,
                source="eq. 12",
                error=0.0007,
            ),
            ClaimRow(
                "C2",
                "The time to learn a mode is O(1/s), and L(k) <= (1 - eta lambda_0/2)^k L(0).",
                "exact",
                "not reproduced",
                1.31,
                1.0,
                0.1,
                "The smallest mode had not converged when the run ended at `t = 10`.",
                "section 2",
                0.02,
            ),
            ClaimRow(
                "C3",
                "Sharpness hovers at 2/η.",
                "empirical",
                "reproduced",
                20.0312,
                20.0,
                0.5,
                error=0.04,
                source="fig. 3",
            ),
            ClaimRow(
                "C4",
                "The same holds for the ImageNet network.",
                "empirical",
                "not run",
                reason="The quick scale leaves it out.",
            ),
            ClaimRow(
                "C5",
                "The distance to flow falls as 1/width.",
                "asymptotic",
                "reproduced at reduced scale",
                -0.98,
                -1.0,
                0.1,
                error=0.03,
                source="theorem 2",
                falsified_by="a slope of log distance over log width above `-0.5` at width 256",
            ),
        ],
        deviates=["Three layers instead of five.", "Digits (8 × 8) instead of MNIST."],
        provenance={
            "thalweg": "0.1.0",
            "jax": "0.10.2",
            "seeds": "0, 1, 2, 3",
            "precision": "float64",
            "machine": "2 cores, no accelerator",
            "seconds of gradient descent with measurements": 12.31,
            "data: sha256": "7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730" * 2,
            "dynamics: tolerances of the embedded pair": "{'error': 0.0001, 'solver': 'auto', "
            "'norm': 'all parameters', 'companion': 'two steps as one'}",
            "key": NASTY,
        },
        command="thalweg run elkabetz2021-continuous-discrete --scale quick --seed 0 "
        "--out runs/elkabetz2021-continuous-discrete",
        source="Saxe, McClelland & Ganguli, Exact solutions to the nonlinear dynamics of learning "
        "in deep linear neural networks, ICLR 2014",
        minutes=3.25,
    )


def fill(folder: Path, what: Page) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in what.data_names():
        save_dataset(DATA[name](), folder / f"{name}.zarr")
    write_page(what, folder)
    return folder
