"""The user's files: round trips against pandas and NumPy, and a sentence for all that is bad."""

import gzip
import io
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from thalweg.core.errors import InputError
from thalweg.problems.data.files import as_data, from_file, read_data
from thalweg.problems.data.images import digit_images

LIMITS = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FRAME = pd.DataFrame(
    {
        "a": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        "b": [1, 2, 3, 4, 5, 7],
        "flag": [True, False, True, True, False, False],
        "colour": ["red", "blue", "red", "green", "blue", "red"],
        "y": [1.5, 2.5, 0.5, 3.5, 4.5, 5.5],
    }
)
TABLES = (".csv", ".parquet")


def write(frame, path, index=False):
    frame.to_csv(path, index=index) if path.suffix == ".csv" else frame.to_parquet(
        path, index=index
    )
    return path


def refused(path, words, **options):
    with pytest.raises(InputError, match=words) as caught:
        from_file(path, **options)
    assert "\n" not in str(caught.value)


# ---- good files ------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", TABLES)
def test_table_regression(tmp_path, ending):
    path = write(FRAME.drop(columns="colour"), tmp_path / f"table{ending}")
    data = from_file(path, target="y")
    np.testing.assert_array_equal(data.inputs, FRAME[["a", "b", "flag"]].to_numpy(float))
    np.testing.assert_array_equal(data.targets[:, 0], FRAME["y"])
    assert (data.name, data.task) == (path.name, "regression")
    assert data.description["source"] == str(path)
    two = from_file(path, target="y, a", inputs="b,flag")
    np.testing.assert_array_equal(two.targets, FRAME[["y", "a"]].to_numpy())
    np.testing.assert_array_equal(two.inputs, FRAME[["b", "flag"]].to_numpy(float))


@pytest.mark.parametrize("ending", TABLES)
def test_table_classification(tmp_path, ending):
    path = write(FRAME, tmp_path / f"table{ending}")
    data = from_file(path, target="colour")
    assert data.classes == ("blue", "green", "red")
    assert [data.classes[i] for i in data.targets] == FRAME["colour"].tolist()
    flag = from_file(path, target="flag", inputs=["a"])
    assert flag.classes == ("False", "True")
    assert flag.targets.tolist() == FRAME["flag"].astype(int).tolist()


def test_categories_keep_their_order(tmp_path):
    sizes = pd.Categorical(["small", "large", "small", "large"], ["small", "medium", "large"])
    path = write(pd.DataFrame({"a": range(4), "size": sizes}), tmp_path / "sizes.parquet")
    data = from_file(path, target="size")
    assert data.classes == ("small", "large")
    assert data.targets.tolist() == [0, 1, 0, 1]


def test_large_integer_labels_stay_apart(tmp_path):
    big = [2**53, 2**53 + 1] * 4
    path = write(pd.DataFrame({"a": range(8), "y": big}), tmp_path / "big.csv")
    assert from_file(path, target="y").classes == (str(2**53), str(2**53 + 1))


def test_nullable_and_float32_columns(tmp_path):
    frame = pd.DataFrame({
        "i": pd.array([1, 2, 3, 4], "Int64"),
        "f": pd.array([1, 2, 3, 4], "float32"),
        "b": pd.array([True, False, True, False], "boolean"),
    })  # fmt: skip
    data = from_file(write(frame, tmp_path / "n.parquet"), target="f")
    np.testing.assert_array_equal(data.inputs, [[1, 1], [2, 0], [3, 1], [4, 0]])
    assert from_file(tmp_path / "n.parquet", target="b").classes == ("False", "True")


def test_csv_with_byte_order_mark_spaces_and_blank_lines(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf\n a, y\r\n1, 2.5\r\n\r\n3, 4.5\r\n")
    data = from_file(path, target="y")
    assert (data.inputs.tolist(), data.targets.tolist()) == ([[1], [3]], [[2.5], [4.5]])


@pytest.mark.parametrize("keys", [("x", "y"), ("X", "y"), ("inputs", "targets")])
def test_archive(tmp_path, keys):
    x, y = np.arange(24.0).reshape(6, 1, 2, 2), FRAME["y"].to_numpy()
    np.savez_compressed(tmp_path / "d.NPZ.npz", **dict(zip(keys, (x, y), strict=True)), other=[1])
    data = read_data(tmp_path / "d.NPZ.npz")
    np.testing.assert_array_equal(data.inputs, x)
    np.testing.assert_array_equal(data.targets[:, 0], y)


def test_archive_with_named_arrays(tmp_path):
    x, text = np.arange(6), FRAME["colour"].to_numpy(str)
    np.savez(tmp_path / "d.npz", pixels=x, label=text, x=x + 1)
    data = from_file(tmp_path / "d.npz", inputs="pixels", target="label")
    np.testing.assert_array_equal(data.inputs[:, 0], x)
    assert [data.classes[i] for i in data.targets] == text.tolist()
    np.testing.assert_array_equal(from_file(tmp_path / "d.npz", target="label").inputs[:, 0], x + 1)


def test_options_reach_the_arrays(tmp_path):
    path = write(FRAME.drop(columns="colour"), tmp_path / "t.csv")
    data = read_data(str(path), target="y", standardize="feature", samples=2, every=2)
    raw = FRAME[["a", "b", "flag"]].to_numpy(float)[[0, 2]]
    np.testing.assert_array_equal(data.targets[:, 0], FRAME["y"][[0, 2]])
    np.testing.assert_allclose(data.inputs[:, :2], [[-1, -1], [1, 1]], rtol=1e-12)
    assert (raw[:, 2] == 1).all()
    assert data.description["standardize"]["only_centred"] == ["column 'flag'"]


def test_load_by_name():
    np.testing.assert_array_equal(
        read_data("digits", samples=20).inputs, digit_images(samples=20).inputs
    )


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("digit", {}, r"Did you mean 'digits'.*\.npz, \.csv, \.tsv or \.parquet"),
        ("table.xlsx", {}, r"must end in \.npz, \.csv, \.tsv or \.parquet"),
        ("digits", {"sampels": 3}, "Did you mean 'samples'"),
        ("t.csv", {"goal": "y"}, "option for 't.csv': 'goal'"),
        ("nowhere.csv", {"target": "y"}, "no such file"),
        ("a\0b.csv", {}, "no such file"),
    ],
)
def test_load_refuses(name, options, words):
    with pytest.raises(InputError, match=words):
        read_data(name, **options)


# ---- bad files -------------------------------------------------------------------------------

GOOD = "a,b,y\n1,2,0.5\n3,4,1.5\n5,7,2.5\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("\n\n", "not a table"),
        ("a,b,y\n", "no rows"),
        ("a,b,y\n1,2,3\n", "1 example; at least 2"),
        ("y\n1\n2\n", "no feature columns"),
        ("a,a,y\n1,2,3\n4,5,7\n", "more than one column is named a"),
        (",a,y\n0,2,3\n1,5,7\n", "a column has no name"),
        (GOOD + "1,2,3,4\n", "not a table"),
        (GOOD.replace("b,", "", 1), "not a table"),
        (GOOD + "1,2\n", r"missing .* 'y' \(1 of 4 rows\)"),
        (GOOD.replace("4", ""), r"missing .* 'b' \(1 of 3 rows\)"),
        (GOOD.replace("4", "nan"), r"missing or NaN .* 'b' \(1 of 3 rows\)"),
        (GOOD.replace("4", "-inf"), r"infinite values in column 'b' \(1 of 3 rows\)"),
        (GOOD.replace("1.5", "inf"), r"infinite values in column 'y' \(1 of 3 rows\)"),
        (GOOD.replace("4", "four"), "'b' holds numbers, but text such as 'four' in 1 of 3 rows"),
        (GOOD.replace("4", "1+2j"), r"'b' holds numbers, but text such as '1\+2j' in 1 of 3 rows"),
        (GOOD.replace("4", "1" + "0" * 400), "'b' holds numbers beyond float64"),
        ('"a\nb",c\n1,2\n', "There are: a b, c"),
        (GOOD.replace("y", "Y"), "no column 'y'"),
        (GOOD + '"1,2,3\n', "not a table"),
        ("a,y\n1,5\n2,5\n3,5\n", "same value in all 3"),
        ("a,y\n1,red\n2,red\n3,red\n", "same value in all 3"),
        ("a,y\n1,2020-01-01\n2,2020-01-01\n", "same value in all 2"),
        (GOOD.encode("utf-16-le"), "zero bytes"),
        (GOOD.encode() + b"\xff\xfe,1,2\n", "not text in UTF-8"),
        (bytes(range(1, 256)), "not text in UTF-8"),
    ],
)
def test_bad_csv(tmp_path, content, words):
    path = tmp_path / "bad.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(path, words, target="y")


@pytest.mark.parametrize("ending", TABLES)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "colr"}, "Did you mean 'colour'"),
        ({"target": "y", "inputs": "a,bb"}, "no column 'bb'"),
        ({"target": "y", "inputs": ["a", "y"]}, "'y' is both input and target"),
        ({"target": "y", "inputs": ["a", "a"]}, "'a' is named twice"),
        ({"target": "y", "inputs": []}, "no feature columns"),
        ({"target": []}, "names no column"),
        ({}, "which column is the target.*a, b, flag, colour, y"),
        ({"target": "y"}, r"features must be numbers .*'colour' \(such as 'red'\)"),
        ({"target": "y,colour"}, "several targets must be numbers"),
        ({"target": "colour", "task": "regression"}, "text or categories"),
        ({"target": "y,a", "task": "classification", "inputs": "b"}, "one label per example"),
        ({"target": "y", "inputs": "a", "samples": 7}, "samples came as 7.* 1 to 6"),
        ({"target": "y", "inputs": "a", "samples": 0}, "samples came as 0"),
    ],
)
def test_bad_options(tmp_path, ending, options, words):
    refused(write(FRAME, tmp_path / f"t{ending}"), words, **options)


def test_wide_table_lists_few_names(tmp_path):
    wide = pd.DataFrame(np.ones((3, 500)), columns=[f"c{i}" for i in range(500)])
    refused(write(wide, tmp_path / "wide.csv"), r"\.\.\. \(500 in all\)", target="y")


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pd.to_datetime(["2020-01-01", "2021-01-01", "2022-01-01"]), "datetime"),
        ([[1], [2], [3]], "target column 'c'"),
        ([b"a", b"b", b"c"], "holds bytes"),
        ([{"k": 1}, {"k": 2}, {"k": 3}], "target column 'c'"),
        (pd.array([1, None, 2], "Int64"), r"missing .* 'c' \(1 of 3 rows\)"),
    ],
)
def test_parquet_with_odd_columns(tmp_path, column, words):
    path = write(pd.DataFrame({"a": [1, 2, 3], "c": column}), tmp_path / "odd.parquet")
    refused(path, words, target="c")
    refused(path, "'c'", target="a")


def test_parquet_refuses_twins_and_damage(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    twins = pa.table([pa.array([1, 2]), pa.array([3, 4]), pa.array([5, 6])], names=["a", "a", "y"])
    pq.write_table(twins, tmp_path / "twins.parquet")
    refused(tmp_path / "twins.parquet", "more than one column is named a", target="y")
    content = write(FRAME, tmp_path / "t.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[:-20])
    refused(tmp_path / "cut.parquet", "not a readable Parquet", target="y")
    garbled = FRAME.to_parquet(index=False, compression="none").replace(b"green", b"gr\xa8en")
    (tmp_path / "garbled.parquet").write_bytes(garbled)
    refused(tmp_path / "garbled.parquet", "not a readable Parquet", target="colour")
    (tmp_path / "text.parquet").write_text(GOOD)
    refused(tmp_path / "text.parquet", "not a readable Parquet", target="y")


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    path = write(FRAME, tmp_path / "t.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    refused(path, r"pip install 'thalweg\[parquet\]'", target="y")


def test_paths_that_are_no_files(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    refused(tmp_path / "folder.csv", "is a folder", target="y")
    refused(tmp_path / "none.npz", "no such file")
    refused(tmp_path / "data.txt", r"unknown ending.*\.npz, \.csv, \.tsv or \.parquet")
    refused(tmp_path, "unknown ending")


X, Y = np.arange(12.0).reshape(6, 2), FRAME["y"].to_numpy()


@pytest.mark.parametrize(
    ("arrays", "options", "words"),
    [
        ({"a": X, "b": Y}, {}, "it holds a, b; name one pair x and y"),
        ({"x": X, "inputs": X, "y": Y, "targets": Y}, {}, "name one pair"),
        ({"x": X, "y": Y}, {"target": "z"}, "no array 'z'.*There are: x, y"),
        ({"x": X, "y": Y}, {"target": "x"}, "both 'x'"),
        ({"x": X, "y": Y}, {"target": ["x", "y"]}, "one array's key"),
        ({"x": np.array([1, "a", None], object), "y": Y[:3]}, {}, "'x' cannot be read"),
        ({"x": X, "y": Y[:4]}, {}, "6 inputs but 4 targets"),
        ({"x": X + 0j, "y": Y}, {}, "complex128"),
        ({"x": X[:, :0], "y": Y}, {}, "no features"),
        ({"x": X[:0], "y": Y[:0]}, {}, "0 examples"),
        ({"x": np.where(X == 3, np.nan, X), "y": Y}, {}, r"feature 1 \(1 of 6 rows\)"),
        ({"x": X, "y": np.zeros(6)}, {}, "same value in all 6"),
        ({"x": X, "y": np.zeros(6, [("a", "f8"), ("b", "f8")])}, {}, "targets have type"),
        ({}, {}, "it holds nothing"),
    ],
)
def test_bad_archive(tmp_path, arrays, options, words):
    np.savez(tmp_path / "bad.npz", **arrays)
    refused(tmp_path / "bad.npz", words, **options)


def test_archives_that_are_none(tmp_path):
    path = tmp_path / "bad.npz"
    path.write_text(GOOD)
    refused(path, "not a NumPy archive")
    path.write_bytes(b"")
    refused(path, "is empty")
    with path.open("wb") as file:
        np.save(file, X)
    refused(path, "one bare array")
    np.savez(path, x=X, y=Y)
    path.write_bytes(path.read_bytes()[:-30])
    refused(path, "not a NumPy archive")
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", "not an array")
        archive.writestr("y", "text")
    refused(path, "not an array")


# ---- random files ----------------------------------------------------------------------------


def read_or_refuse(path, **options):
    """Anything but an InputError escapes and fails the test; what is read must be sound."""
    try:
        data = from_file(path, **options)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert len(data.inputs) == len(data.targets) >= 2
    assert np.isfinite(data.inputs).all()
    assert np.isfinite(data.targets).all()


def damaged(valid):
    """Random bytes; or a valid file that is cut short and prolonged, or has one byte changed."""
    cut = st.tuples(st.integers(0, len(valid)), st.binary(max_size=8))
    flip = st.tuples(st.integers(0, len(valid) - 1), st.integers(0, 255))
    return st.one_of(
        st.binary(max_size=80),
        cut.map(lambda t: valid[: t[0]] + t[1]),
        flip.map(lambda t: valid[: t[0]] + bytes([t[1]]) + valid[t[0] + 1 :]),
    )


@LIMITS
@given(st.one_of(st.binary(max_size=80), st.text('0123456789.,-e"\n naif;TrueFalse', max_size=60)))
def test_random_csv(tmp_path, content):
    content = content.encode() if isinstance(content, str) else content
    for head in (b"", b"a,y\n", b"a,y\n1,2\n2,3\n"):
        (tmp_path / "r.csv").write_bytes(head + content)
        read_or_refuse(tmp_path / "r.csv", target="y")


def npz_bytes():
    file = io.BytesIO()
    np.savez(file, x=X, y=FRAME["colour"].to_numpy("U5"))
    return file.getvalue()


def test_archives_are_held_against_their_checksums(tmp_path):
    """NumPy reads what a header asks for: of a smaller one the rest is never looked at."""
    file = io.BytesIO()
    np.savez(file, x=np.ones((6000, 2)), y=np.arange(6000.0))
    content = file.getvalue().replace(b"(6000, 2)", b"(4000, 2)").replace(b"(6000,)", b"(4000,)")
    (tmp_path / "cut.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"cut\.npz: x\.npy is not as its checksum says"):
        from_file(tmp_path / "cut.npz")
    locked = bytearray(npz_bytes())
    locked[locked.rindex(b"PK\x01\x02") + 8] |= 1  # a flag that says: encrypted
    (tmp_path / "locked.npz").write_bytes(bytes(locked))
    with pytest.raises(InputError, match=r"locked\.npz: array .* cannot be read"):
        from_file(tmp_path / "locked.npz")


@LIMITS
@given(damaged(npz_bytes()))
def test_random_npz(tmp_path, content):
    (tmp_path / "r.npz").write_bytes(content)
    read_or_refuse(tmp_path / "r.npz")


@LIMITS
@given(damaged(FRAME.to_parquet(index=False)))
def test_random_parquet(tmp_path, content):
    (tmp_path / "r.parquet").write_bytes(content)
    read_or_refuse(tmp_path / "r.parquet", target="y", inputs=["a", "b"])


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@LIMITS
@given(
    x=hnp.arrays(np.float64, st.tuples(st.integers(2, 8), st.integers(1, 4)), elements=FLOATS),
    ending=st.sampled_from((".npz", *TABLES)),
)
def test_finite_numbers_come_back_bit_for_bit(tmp_path, x, ending):
    y = np.arange(len(x)) + 0.5
    path = tmp_path / f"t{ending}"
    if ending == ".npz":
        np.savez(path, x=x, y=y)
    else:
        write(pd.DataFrame(x, columns=[f"c{j}" for j in range(x.shape[1])]).assign(y=y), path)
    data = from_file(path, target="y")
    np.testing.assert_array_equal(data.inputs, x)
    np.testing.assert_array_equal(data.targets[:, 0], y)


@LIMITS
@given(
    bad=hnp.arrays(bool, st.tuples(st.integers(3, 7), st.integers(1, 4))).filter(np.any),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
    ending=st.sampled_from((".npz", *TABLES)),
)
def test_every_nan_is_counted(tmp_path, bad, value, ending):
    x, y = np.where(bad, value, 1.5), np.arange(len(bad)) + 0.5
    path = tmp_path / f"t{ending}"
    if ending == ".npz":
        np.savez(path, x=x, y=y)
    else:
        write(pd.DataFrame(x, columns=[f"c{j}" for j in range(x.shape[1])]).assign(y=y), path)
    with pytest.raises(InputError) as caught:
        from_file(path, target="y")
    for j, count in enumerate(bad.sum(axis=0)):
        named = f"feature {j} (" if ending == ".npz" else f"'c{j}' ("
        assert (f"{named}{count} of {len(x)} rows)" in str(caught.value)) == bool(count)


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=5)


@LIMITS
@given(
    labels=st.one_of(
        st.lists(st.booleans(), min_size=2, max_size=10),
        st.lists(WORDS.map(lambda w: "c" + w), min_size=2, max_size=10),
        st.lists(st.integers(-3, 3), min_size=2, max_size=10),
        st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=10),
    ).filter(lambda labels: len(set(labels)) > 1),
    ending=st.sampled_from((".npz", *TABLES)),
)
def test_labels_keep_their_names_and_order(tmp_path, labels, ending):
    path = tmp_path / f"t{ending}"
    if ending == ".npz":
        np.savez(path, x=np.arange(len(labels)), y=np.array(labels))
    else:
        write(pd.DataFrame({"a": range(len(labels)), "y": labels}), path)
    data = from_file(path, target="y", task="classification")
    ordered = sorted(set(labels))
    assert data.targets.tolist() == [ordered.index(label) for label in labels]
    shown = [label if isinstance(label, str | bool) else int(label) for label in ordered]
    assert data.classes == tuple(str(label) for label in shown)


# ---- files that are not what their name says -------------------------------------------------


def zipped(*names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, "a,y\n1,2\n")
    return content.getvalue()


def saved(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.mark.parametrize(
    ("ending", "content", "words"),
    [
        (".csv", gzip.compress(b"a,y\n1,2\n"), "compressed with gzip, not a csv file; unpack it"),
        (".csv", zipped("table.csv"), "a zip archive, not a csv file"),
        (".tsv", zipped("[Content_Types].xml", "xl/a"), "an Excel workbook, not a tsv file"),
        (".csv", saved(np.eye(2)), r"one array of NumPy's.*numpy\.savez"),
        (".csv", b"<!DOCTYPE html>\n<html>404</html>", "a web page or XML, not a csv file"),
        (".csv", b'[{"a": 1, "y": 2}]', "JSON, not a csv file"),
        (".parquet", b"a,y\n1,2\n", "not a readable Parquet file"),
        (".parquet", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (".npz", b"PAR1", r"in the Parquet format, not a npz file; name it \.parquet"),
    ],
    # Archives hold the time when they were made, which no two workers share.
    ids=["gzip", "zip", "excel", "numpy", "web-page", "json", "no-parquet", "git-lfs", "parquet"],
)
def test_a_file_of_another_kind_is_told(tmp_path, ending, content, words):
    path = tmp_path / f"table{ending}"
    path.write_bytes(content)
    refused(path, words, target="y")


@pytest.mark.parametrize("value", ["1,{}00", "{}%", "${}.50", "0x{}", "'{}'", "2024-01-0{}"])
def test_numbers_written_as_text_are_to_be_written_as_numbers(tmp_path, value):
    """That is the first advice: one column for each different number is hardly what was meant."""
    path = write(
        pd.DataFrame({"a": map(value.format, range(1, 9)), "y": range(8)}), tmp_path / "t.csv"
    )
    refused(path, "'a'.*; write numbers as numbers, encode them", target="y")
    refused(write(FRAME, path), r"'colour' .*; encode them", target="y")


@pytest.mark.parametrize(
    "inputs",
    [
        (np.ones((6, 3)), np.ones((6, 3))),
        [np.ones((6, 3)), np.ones((6, 2))],
        {"left": np.ones((6, 3)), "right": np.ones((6, 3))},
    ],
)
def test_several_inputs_are_told_to_be_put_side_by_side(inputs):
    with pytest.raises(InputError, match="the inputs came as 2 arrays; give one"):
        as_data((inputs, np.arange(6.0)))


def test_rows_in_a_list_are_no_several_inputs():
    rows = [np.array([1.0, 2.0]), np.array([3.0, 5.0])]
    assert as_data((rows, np.arange(2.0))).inputs.tolist() == [[1.0, 2.0], [3.0, 5.0]]
