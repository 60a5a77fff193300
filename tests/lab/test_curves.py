"""Panels in one call: which lines, in which colours' groups, and labels from what is stored."""

import numpy as np

from thalweg.lab.curves import curves, labelled, present
from thalweg.lab.table import table
from thalweg.report import Figure, draw

FOUND = table(
    {
        "depth time": {
            "loss": (np.ones((2, 3)), "loss", "training loss"),
            "loss_theory": (np.ones((2, 3)), "loss", "training loss, theory"),
        },
        "time": {"ratio": (np.ones(3), "1", "ratio")},
    },
    depth=[2, 3],
    time=[0.0, 1.0, 2.0],
)


def test_one_line_per_value_asked_for_beside_its_theory():
    panel = curves("X1", "loss", each="depth", only=(3, 2), theory=True, log="xy")
    assert [(s.y, s.label, s.select) for s in panel.series] == [
        ("loss", "depth = 3", {"depth": 3}),
        ("loss_theory", "depth = 3, theory", {"depth": 3}),
        ("loss", "depth = 2", {"depth": 2}),
        ("loss_theory", "depth = 2, theory", {"depth": 2}),
    ]
    assert [s.group for s in panel.series] == ["depth = 3", "depth = 3", "depth = 2", "depth = 2"]
    assert panel.x_log
    assert panel.y_log


def test_labels_are_the_words_and_units_of_what_is_stored():
    figure = Figure(
        "f", "t", "c",
        (
            curves("X1", "loss", each="depth", theory=True),
            curves("X1", "ratio", y_label="another", log="y"),
        ),
    )  # fmt: skip
    first, second = labelled(figure, {"X1": FOUND}).panels
    assert (first.x_label, first.y_label) == ("training time (step size)", "training loss (loss)")
    assert second.y_label == "another"
    assert draw(figure, {"X1": FOUND}.__getitem__)["data"]


def test_what_a_smaller_scale_left_out_is_not_drawn():
    panel = curves("X1", "loss", each="depth", only=(2, 3, 9))
    whole = Figure("f", "t", "c", (panel, curves("X1", "loss", at={"depth": 9})))
    left = present(whole, {"X1": FOUND})
    assert left is not None
    assert [[line.select["depth"] for line in p.series] for p in left.panels] == [[2, 3]]
    assert present(Figure("f", "t", "c", whole.panels[1:]), {"X1": FOUND}) is None
