"""Streams: their order, their stages, and the generator's own definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.problems import geoff_stream, shifted_labels_stream, stream


def test_geoff_repeats_tasks_and_keeps_its_features() -> None:
    whole = geoff_stream(seed=3, length=40, inputs=6, features=30, noise=0.0, precision="float64")
    assert whole.stages == tuple("ABCABC")
    x, y = np.asarray(whole.inputs), np.asarray(whole.targets)[:, 0]
    assert set(np.unique(x)) == {0.0, 1.0}
    for k in range(3):
        a, b = whole.stage(k), whole.stage(k + 3)
        np.testing.assert_array_equal(a.inputs, b.inputs)
        np.testing.assert_array_equal(a.targets, b.targets)
    # Drawn again by the definition, entry by entry.
    rng = np.random.default_rng(3)
    U = rng.choice([-1.0, 1.0], size=(7, 31))
    W = rng.choice([-1.0, 0.0, 1.0], size=31)
    for example, target in zip(rng.integers(0, 2, size=(40, 7)), y[:40], strict=True):
        example = example.astype(float)
        example[-1] = 1
        matches = [
            sum((u == 1) == (e == 1) for e, u in zip(example, U[:, j], strict=True))
            for j in range(30)
        ]
        on = [float(match > 0.6 * 7) for match in matches]
        assert target == pytest.approx(np.dot([*on, 1.0], W))


def test_a_new_task_redraws_its_share_alone() -> None:
    same = geoff_stream(seed=1, length=30, features=20, redrawn=0.0, stages=["A", "B"], noise=0.0)
    x = np.asarray(same.inputs)
    assert (x[:30] != x[30:]).any()  # fresh examples
    table: dict[bytes, float] = {}
    other = geoff_stream(
        seed=1, length=400, inputs=3, features=20, redrawn=0.0, stages=["A", "B"], noise=0.0
    )
    for row, y in zip(np.asarray(other.inputs), np.asarray(other.targets)[:, 0], strict=True):
        assert table.setdefault(row.tobytes(), float(y)) == pytest.approx(float(y))
    changed = geoff_stream(seed=1, length=400, inputs=3, features=20, stages=["A", "B"], noise=0.0)
    seen: dict[bytes, set[float]] = {}
    for row, y in zip(np.asarray(changed.inputs), np.asarray(changed.targets)[:, 0], strict=True):
        seen.setdefault(row.tobytes(), set()).add(round(float(y), 4))
    assert max(map(len, seen.values())) == 2


def test_labels_are_rolled_on_and_every_pass_has_all_examples() -> None:
    x, labels = np.arange(5.0)[:, None], np.array([0, 1, 2, 0, 1])
    rolled = shifted_labels_stream(tw.models.mlp([2]), (x, labels), (0, 1), passes=2, seed=4)
    assert rolled.lengths == (10, 10)
    for number, shift in enumerate((0, 1)):
        part = rolled.stage(number)
        rows = np.asarray(part.inputs)[:, 0].astype(int)
        assert sorted(rows[:5]) == sorted(rows[5:]) == list(range(5))
        np.testing.assert_array_equal(np.argmax(part.targets, axis=1), (labels[rows] + shift) % 3)
    assert (np.asarray(rolled.inputs)[:5] != np.asarray(rolled.inputs)[5:10]).any()


def test_a_part_of_a_stream_is_a_problem_of_its_own() -> None:
    data = np.arange(6.0)[:, None], np.arange(6.0)[:, None]
    whole = stream(tw.models.linear([]), data, lengths=(4, 2), stages=("easy", "hard"))
    assert type(whole.stage(1)) is tw.problems.Supervised
    assert whole.stage(1).inputs[:, 0].tolist() == [4.0, 5.0]
    assert whole.describe()["stages"] == [["easy", 4], ["hard", 2]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"lengths": (4, 3)}, "add up"),
        ({"lengths": (6, 0)}, "add up"),
        ({"lengths": (3, 3), "stages": ["A", "B", "C"]}, "3 names came for 2 stages"),
    ],
)
def test_bad_stages_are_told(arguments: Any, said: str) -> None:
    data = np.arange(6.0)[:, None], np.arange(6.0)[:, None]
    with pytest.raises(InputError, match=said):
        stream(tw.models.linear([]), data, **arguments)


def test_bad_generators_are_told() -> None:
    with pytest.raises(InputError, match="redrawn came as 2"):
        geoff_stream(redrawn=2.0)
    with pytest.raises(InputError, match="give labels"):
        shifted_labels_stream(tw.models.mlp([2]), (np.ones((2, 1)), np.ones((2, 1))))
    with pytest.raises(InputError, match="counted from 0"):
        geoff_stream(length=2, features=2).stage(6)
