"""The figures of the study of SGD after zero loss."""

from __future__ import annotations

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure

AT = {"draw": 0}
SGD, LIMIT, FLOW = "SGD with label noise", "SGD, then the limit map", "limiting flow"

FIGURES = (
    Figure(
        "sparse",
        "Long after the loss is zero SGD goes on, and a flow without noise says where",
        "Over-parametrised linear model, 60 unknowns, 30 examples, draw 0: SGD with label noise "
        "after plain descent, raw and followed by the limit map, beside the limiting flow, against "
        "slow time. (a) The trace of the Hessian falls to the least that any exact fit has. (b) "
        "The distance from the sparse truth.",
        (
            curves(
                "X1",
                ("limit_trace", "flow_trace"),
                over="slow",
                at=AT,
                labels={"limit_trace": LIMIT, "flow_trace": FLOW},
                more=[
                    *series("X1", "sgd_trace", over="slow", at=AT, style="points", label=SGD),
                    *series(
                        "X1", "least", over="slow", at=AT, style="dash", label="least possible"
                    ),
                ],
                y_label="trace of the Hessian",
                log="xy",
            ),
            curves(
                "X1",
                ("limit_error", "flow_error"),
                over="slow",
                at=AT,
                labels={"limit_error": LIMIT, "flow_error": FLOW},
                more=series("X1", "sgd_error", over="slow", at=AT, style="points", label=SGD),
                y_label="||w - w*||² (parameter²)",
                log="xy",
            ),
        ),
    ),
    Figure(
        "valley",
        "In a valley the mean of many descents tends to the flow",
        "(a) Noise of labels in the valley (1 + x^2) y^2/2: mean of x over 4000 descents at each "
        "step size, dashed the limiting flow. (b) Isotropic noise at step size 0.05, slow time 1: "
        "first two moments of SGD and of the limiting diffusion, beside those of its equation.",
        (
            curves(
                "X2-label",
                "mean",
                over="slow",
                each="eta",
                style="points",
                more=series("X2-label", "mean_theory", over="slow", label="flow", style="dash"),
            ),
            curves(
                "X2-isotropic",
                ("descent", "diffusion", "theory"),
                over="power",
                labels={"descent": "SGD", "diffusion": "diffusion", "theory": "its equation"},
                style="points",
                y_label="mean of x^k at slow time 1",
            ),
        ),
    ),
    Figure(
        "motor",
        "A noise that turns a motor for ever",
        "Mean angle over 200 descents at each step size, dashed the limiting flow: half a radian "
        "per slow time. No function falls along this drift.",
        (
            curves(
                "X3",
                "angle",
                over="slow",
                each="eta",
                style="points",
                error="angle_error",
                more=series("X3", "flow", over="slow", label="flow", style="dash"),
            ),
        ),
    ),
)
