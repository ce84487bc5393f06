"""The embedded collection: real text with known-item judgements, and nothing to download.

``pt.get_dataset("lir:pydoc")`` finds it through the entry point group ``pyterrier.dataset_provider``. After
`register` it is in ir_datasets' registry too, as ``pt.get_dataset("irds:lir/pydoc")``.
"""

from __future__ import annotations

from pyterrier_lir.datasets.irds import register
from pyterrier_lir.datasets.provider import DocstringDataset, LirDatasetProvider, TextLoader, provider

__all__ = ["DocstringDataset", "LirDatasetProvider", "TextLoader", "provider", "register"]
