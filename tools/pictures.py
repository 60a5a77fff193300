"""Make the pictures of pages by running the Python that stands on them.

    python tools/pictures.py docs/gallery.md docs/index.md

A page's Python blocks run in order in one namespace, in the folder of the page, where they save
what the page shows. So a picture is made by the lines beside it, and by nothing else.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run(page: Path) -> None:
    """Run a page's blocks in its folder, so that a traceback names the page's line."""
    text = page.read_text(encoding="utf-8")
    names: dict[str, object] = {"__name__": "page"}
    for block in BLOCK.finditer(text):
        started = time.process_time()
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block[1], str(page), "exec", dont_inherit=True), names)
        print(
            f"{page.name}:{line + 1}: {time.process_time() - started:.1f} CPU seconds", flush=True
        )


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "agg")
    for path in [Path(name).resolve() for name in sys.argv[1:]]:
        os.chdir(path.parent)
        run(path)
