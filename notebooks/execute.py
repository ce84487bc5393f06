"""Runs notebooks from top to bottom and keeps their outputs: `python notebooks/execute.py [notebook ...]`.

What differs from run to run without meaning (execution times, versions of the kernel) is not kept.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
# Progress bars are for those who wait. Nothing is downloaded, so no model may be looked for on the hub.
QUIET = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"}
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def notebooks() -> list[Path]:
    """All notebooks in the order of their numbers."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))


def execute(path: Path, working_folder: Path) -> Any:
    """A copy of the notebook, executed in a fresh kernel whose working folder holds `.cache`.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(working_folder)}}
    client = NotebookClient(notebook, kernel_name="python3", timeout=600, resources=resources, record_timing=False)
    search_path = os.pathsep.join(filter(None, [str(FOLDER), os.environ.get("PYTHONPATH")]))
    client.execute(env={**os.environ, **QUIET, "PYTHONPATH": search_path})
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


def main() -> None:
    """Executes the notebooks that are named, or all, and writes them back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="all of them where none is named")
    for path in parser.parse_args().notebooks or notebooks():
        nbformat.write(execute(path, FOLDER), path)


if __name__ == "__main__":
    main()
