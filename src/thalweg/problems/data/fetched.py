"""Files of the web that are fetched once, checked, and kept, by scikit-learn's fetcher."""

from __future__ import annotations

import http.client
import warnings
from dataclasses import dataclass
from pathlib import Path

from thalweg.core.errors import InputError
from thalweg.problems.data.text_labels import one_line

FOLDER = "thalweg"  # in scikit-learn's folder of data


@dataclass(frozen=True)
class Remote:
    """A file of the web.

    Attributes:
        url: Where it lies; its last part is the name it is kept by.
        sha256: Of its bytes, in hexadecimal.
        size: In words, for whoever waits for it.
    """

    url: str
    sha256: str
    size: str


def fetch(remote: Remote, name: str, otherwise: str, *, network: bool = True) -> Path:
    """The file's path on this machine, to which it is fetched if it is not there, or is damaged.

    It is kept in the folder `thalweg` of scikit-learn's data (`~/scikit_learn_data`, or what
    SCIKIT_LEARN_DATA names), whole or not at all.

    Args:
        remote: The file.
        name: Name of the data, the beginning of the error sentence.
        otherwise: What to do where there is no network, its end.
        network: Whether the network may be asked; else the file must be there.

    Raises:
        InputError: If the file is not to be had, or its checksum is another.
    """
    from sklearn.datasets import fetch_file, get_data_home  # slow to import

    try:
        folder = Path(get_data_home()) / FOLDER
        if not network and not (folder / remote.url.rpartition("/")[2]).is_file():
            raise InputError(f"{name}: no file of it is at hand; {otherwise}.")
        folder.mkdir(exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tries again, and fetches what it kept damaged
            return Path(fetch_file(remote.url, folder, sha256=remote.sha256, n_retries=1))
    except (OSError, http.client.HTTPException) as error:  # of the network, the file, the folder
        raise InputError(
            f"{name}: {remote.url} ({remote.size}) was not fetched ({refusal(error)}); give the "
            f"command again where there is a network, or {otherwise}."
        ) from None


def refusal(error: Exception) -> str:
    """Why something was not fetched, in a few words."""
    cause = getattr(error, "reason", error)  # what urllib wraps
    text = one_line(getattr(cause, "strerror", None) or cause) or type(error).__name__
    return text.rstrip(".")
