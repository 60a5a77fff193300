"""Data out of the web, from a server of our own: whole, cut short, changed, or not there at all."""

import gc
import hashlib
import io
import json
import tarfile
import threading
import warnings
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from sklearn.datasets import _openml

from thalweg.core.errors import InputError
from thalweg.problems.data import cifar, images
from thalweg.problems.data.cifar import cifar10_images
from thalweg.problems.data.fetched import FOLDER, Remote, fetch
from thalweg.problems.data.files import read_data
from thalweg.problems.data.images import mnist_images

RNG = np.random.default_rng(3)
PIXELS = RNG.integers(0, 256, (40, 28, 28)).astype(np.uint8)
LABELS = (np.arange(40) % 10).astype(np.uint8)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where fetched files are kept; nobody waits between two tries."""
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "kept"))
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return tmp_path / "kept" / FOLDER


@pytest.fixture
def web():
    """A server's files by path; what was asked for; how many bytes less it sends than it says."""

    class Web(BaseHTTPRequestHandler):
        files, asked, short = {}, [], 0

        def do_GET(self):
            self.asked.append(self.path)
            content = self.files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write((content or b"")[: len(content or b"") - self.short])

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Web.at = f"http://127.0.0.1:{server.server_port}"
        yield Web
        server.shutdown()
    with warnings.catch_warnings():  # a refusal that urllib raised keeps its connection
        warnings.simplefilter("ignore")
        gc.collect()


def archive(split="train", pixels=PIXELS, labels=LABELS):
    buffer = io.BytesIO()
    np.savez(buffer, **{f"x_{split}": pixels, f"y_{split}": labels})
    return buffer.getvalue()


def offered(web, monkeypatch, where, content, module=images, name="MNIST_FILE"):
    """The content lies on the server, and its checksum is known."""
    web.files[where] = content
    remote = Remote(web.at + where, hashlib.sha256(content).hexdigest(), "1 MB")
    monkeypatch.setattr(module, name, remote)
    return remote


def nothing_half(folder):
    return [path.name for path in folder.iterdir() if ".part" in path.name] == []


def test_mnist_is_fetched_once(web, monkeypatch, folder):
    offered(web, monkeypatch, "/of/mnist.npz", archive())
    expected = (PIXELS.reshape(40, 784) / 255 - 0.1307) / 0.3081
    for _ in range(2):
        data = read_data("mnist")
        np.testing.assert_allclose(data.inputs, expected, rtol=1e-15, atol=1e-15)
        assert data.targets.tolist() == LABELS.tolist()
    assert web.asked == ["/of/mnist.npz"]
    assert str(folder / "mnist.npz") in data.description["source"]
    web.asked.clear()
    assert len(mnist_images(network=False).inputs) == 40
    assert web.asked == []


def test_own_files_come_first(web, monkeypatch, tmp_path):
    offered(web, monkeypatch, "/mnist.npz", archive())
    np.savez(tmp_path / "mnist.npz", x_train=PIXELS[:20], y_train=LABELS[:20])
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path))
    assert len(mnist_images().inputs) == 20
    assert web.asked == []
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path / "elsewhere"))
    assert len(mnist_images().inputs) == 40
    with pytest.raises(InputError, match="no such files"):  # a folder that was given is meant
        mnist_images(tmp_path / "elsewhere")


def test_a_file_that_was_damaged_here_is_fetched_again(web, monkeypatch, folder):
    offered(web, monkeypatch, "/mnist.npz", archive())
    mnist_images()
    kept = folder / "mnist.npz"
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    assert mnist_images().inputs.shape == (40, 784)
    assert len(web.asked) == 2


def refused(words, read=mnist_images):
    with pytest.raises(InputError, match=words) as caught:
        read()
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "urlopen" not in sentence
    return sentence


def test_another_file_than_expected_is_refused(web, monkeypatch, folder):
    offered(web, monkeypatch, "/mnist.npz", archive())
    web.files["/mnist.npz"] = archive(labels=LABELS[::-1])
    refused("SHA256 checksum .* differs")
    assert list(folder.iterdir()) == []


def test_half_a_download_is_no_file(web, monkeypatch, folder):
    offered(web, monkeypatch, "/mnist.npz", archive())
    monkeypatch.setattr(web, "short", 1000)
    refused("retrieval incomplete")
    assert len(web.asked) == 2  # it was tried again
    assert list(folder.iterdir()) == []
    monkeypatch.setattr(web, "short", 0)
    assert mnist_images().inputs.shape == (40, 784)


def test_a_file_that_is_gone_is_a_sentence(web, monkeypatch, folder):
    offered(web, monkeypatch, "/mnist.npz", archive())
    web.files.clear()
    refused("mnist.npz .* was not fetched .*Not Found")
    assert nothing_half(folder)


@pytest.mark.parametrize("read", [mnist_images, cifar10_images])
def test_no_network_is_a_sentence(monkeypatch, read):
    nowhere = Remote("http://127.0.0.1:9/data.tar", "0" * 64, "170 MB")  # nobody listens
    monkeypatch.setattr(images, "MNIST_FILE", nowhere)
    monkeypatch.setattr(cifar, "ARCHIVE", nowhere)
    said = refused(r"was not fetched \(Connection refused\)", read)
    assert "(170 MB)" in said
    assert said.endswith("the environment variable THALWEG_DATA names.")
    refused("no file of it is at hand", partial(read, network=False))


def test_a_folder_that_cannot_be_made_is_a_sentence(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "file" / "below"))
    with pytest.raises(InputError, match=r"was not fetched \(Not a directory\)"):
        fetch(Remote("http://127.0.0.1:9/x", "0", "1 MB"), "x", "wait")


# ---- CIFAR-10 --------------------------------------------------------------------------------

COLOURS = RNG.integers(0, 256, (30, 3, 32, 32)).astype(np.uint8)
MEAN, STD = (np.reshape(cifar.OF_CIFAR[k], (3, 1, 1)) for k in ("mean", "std"))


def batches():
    """The training batches as bytes: six images each, their labels descending."""
    records = np.hstack([(29 - np.arange(30))[:, None] % 10, COLOURS.reshape(30, -1)])
    each = records.astype(np.uint8).reshape(5, 6, -1)
    return {f"data_batch_{i}.bin": each[i - 1].tobytes() for i in (5, 4, 3, 2, 1)}


def packed(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def is_cifar(data):
    np.testing.assert_allclose(data.inputs, (COLOURS / 255 - MEAN) / STD, rtol=1e-14, atol=1e-14)
    assert data.targets.tolist() == (29 - np.arange(30)).__mod__(10).tolist()
    assert data.classes[3] == "cat"


def test_cifar10_from_the_web_from_files_and_from_the_archive(web, monkeypatch, tmp_path):
    where = "/~kriz/cifar-10-binary.tar.gz"
    offered(web, monkeypatch, where, packed(batches()), cifar, "ARCHIVE")
    is_cifar(read_data("cifar10", image=True))
    is_cifar(read_data("cifar10", image=True))
    assert web.asked == [where]
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(packed(batches()))
    is_cifar(cifar10_images(tmp_path, image=True))
    for name, content in batches().items():
        (tmp_path / name).write_bytes(content)
    data = cifar10_images(tmp_path, image=True)
    is_cifar(data)
    assert str(tmp_path) in data.description["source"]
    assert data.description["standardize"]["kind"] == "channel"


def test_cifar10_of_some_classes(tmp_path):
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(packed(batches()))
    data = cifar10_images(tmp_path, classes="dog, cat", samples=4)
    assert data.classes == ("cat", "dog")
    assert data.inputs.shape == (4, 3072)
    rows = [i for i in range(30) if (29 - i) % 10 in (3, 5)][:4]
    assert data.targets.tolist() == [int((29 - i) % 10 == 5) for i in rows]
    expected = ((COLOURS[rows] / 255 - MEAN) / STD).reshape(4, -1)
    np.testing.assert_allclose(data.inputs, expected, rtol=1e-14, atol=1e-14)
    assert data.description["rows"].startswith("6 of 30, those of the classes cat, dog; 4 of these")
    assert "labels_without_example" not in data.description


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (packed(batches())[:500], "cannot be read"),
        (b"no archive", "cannot be read"),
        (packed({"data_batch_1.bin": bytes(3073)}), r"holds no .*data_batch_2\.bin"),
        (packed(batches() | {"data_batch_3.bin": bytes(3000)}), "cut short or damaged"),
        (packed(batches() | {"data_batch_3.bin": b"\n" * 3073}), r"outside 0\.\.9"),
        (packed(dict.fromkeys(batches(), b"")), "holds 0 bytes"),
    ],
)
def test_a_damaged_archive_is_a_sentence(tmp_path, content, words):
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(content)
    refused(words, partial(cifar10_images, tmp_path))


def test_no_files_of_cifar10_in_a_folder_is_a_sentence(tmp_path):
    refused("data_batch_1.bin.*leave folder= out", partial(cifar10_images, tmp_path))
    refused("Did you mean 'train'", partial(cifar10_images, split="trian"))


# ---- OpenML ----------------------------------------------------------------------------------

TABLE = (
    b"@RELATION paint\n@ATTRIBUTE a REAL\n@ATTRIBUTE colour {red,blue,green}\n@DATA\n"
    + b"".join(b"%d.5,%b\n" % (i, (b"red", b"blue", b"green")[i % 3]) for i in range(9))
)


@pytest.fixture
def market(web, monkeypatch):
    """An OpenML with one data set of two versions, of which the second is active."""
    for name in ("_SEARCH_NAME", "_DATA_INFO", "_DATA_FEATURES", "_DATA_QUALITIES"):
        url = getattr(_openml, name)
        monkeypatch.setattr(_openml, name, url.replace("https://www.openml.org", web.at))
    column = {"is_ignore": "false", "is_row_identifier": "false", "number_of_missing_values": "0"}
    features = [
        {"index": "0", "name": "a", "data_type": "numeric", "is_target": "false", **column},
        {"index": "1", "name": "colour", "data_type": "nominal", "is_target": "true", **column}
        | {"nominal_value": ["red", "blue", "green"]},
    ]
    answers = {}
    for version, number in ((1, 70), (2, 77)):
        listed = {"data": {"dataset": [{"did": number, "version": version, "status": "active"}]}}
        search = "/data/list/data_name/paint/limit/2"
        answers[f"{search}/data_version/{version}"] = listed
        answers[f"{search}/status/active/"] = listed
        answers[f"/data/{number}"] = {
            "data_set_description": {
                "id": str(number), "name": "paint", "version": str(version), "format": "ARFF",
                "url": f"{web.at}/paint{version}.arff", "status": "active", "description": "",
                "md5_checksum": hashlib.md5(TABLE).hexdigest(), "file_id": str(number),
                "default_target_attribute": "colour",
            }
        }  # fmt: skip
        answers[f"/data/features/{number}"] = {"data_features": {"feature": features}}
        quality = [{"name": "NumberOfInstances", "value": "9"}]
        answers[f"/data/qualities/{number}"] = {"data_qualities": {"quality": quality}}
        web.files[f"/paint{version}.arff"] = TABLE
    web.files |= {f"/api/v1/json{where}": json.dumps(a).encode() for where, a in answers.items()}
    return web


def test_openml_by_name_and_version(market):
    data = read_data("openml:paint@1", classes="green,red")
    assert data.description["source"] == "OpenML: name paint, version 1, id 70"
    assert data.classes == ("green", "red")
    assert data.inputs[:, 0].tolist() == [0.5, 2.5, 3.5, 5.5, 6.5, 8.5]
    assert data.targets.tolist() == [1, 0] * 3
    assert read_data("openml:paint").description["source"].endswith("version 2, id 77")
    market.asked.clear()
    read_data("openml:paint@1")
    assert market.asked == []


def test_openml_damaged_is_a_sentence(market):
    market.files["/paint2.arff"] = TABLE[:-9]
    refused("md5 checksum", partial(read_data, "openml:paint"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("openml:", "which data set"),
        ("openml:@2", "which data set"),
        ("openml:paint@new", "'new'; give a whole number, as in openml:paint@1"),
        ("openml:paint@7", r"was not fetched \(Not Found\); check the name"),
    ],
)
def test_openml_refuses(market, name, words):
    refused(words, partial(read_data, name))


def test_a_version_given_twice_is_refused(market):
    refused("given twice", partial(read_data, "openml:paint@1", version=2))
