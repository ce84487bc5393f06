"""The embedded collections: real text, and pages drawn from it, with known-item judgements and nothing to download.

``pt.get_dataset("lir:pydoc")`` and ``"lir:pages"`` find them through the entry point group
``pyterrier.dataset_provider``. After `register` it is in ir_datasets' registry too, as
``pt.get_dataset("irds:lir/pydoc")``.
"""

from __future__ import annotations

from pyterrier_lir.datasets.irds import register
from pyterrier_lir.datasets.page_files import PageFiles
from pyterrier_lir.datasets.provider import DocstringDataset, LirDatasetProvider, TextLoader, provider
from pyterrier_lir.datasets.visual import DocstringPages

__all__ = [
    "DocstringDataset",
    "DocstringPages",
    "LirDatasetProvider",
    "PageFiles",
    "TextLoader",
    "provider",
    "register",
]
