"""The folder of fast-plaid, which PyLate keeps as ``fast_plaid_index``: NumPy files, mapped.

========================== =================================== ===================================================
file                       content                             type
========================== =================================== ===================================================
centroids.npy              K centroids of unit length          float16 ``(K, dim)``
bucket_cutoffs.npy         cutoffs of the codebook             float32 ``(B - 1,)``, ``B = 2 ** nbits``
bucket_weights.npy         weights of the codebook             float32 ``(B,)``
doclens.{i}.json           tokens of each document             list
{i}.codes.npy              the centroid of each token          int64 ``(T_i,)``
{i}.residuals.npy          the levels of each token            uint8 ``(T_i, dim * nbits / 8)``, see `foreign`
merged_codes.npy,          the same of all chunks, one after   and perhaps rows behind the last chunk
merged_residuals.npy       the other
merged_*.manifest.json     which chunks these hold, and how    ``{"0.codes.npy": {"rows": T_0, ...}}``
                           many rows of each
metadata.json              options and counts
========================== =================================== ===================================================

From version 1.7 on the merged files take the place of the chunks' own, which then go; where a chunk has files of its
own, they are newer than what the merged ones hold. Scores are those of ``normalise(centroid + weights[level])``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pyterrier_lir.columns import Floats
from pyterrier_lir.index.codebook import Codebook
from pyterrier_lir.index.foreign import ADVICE, Chunk, ForeignFolder, centroids_of, codebook_of, read_json

CENTROIDS = "centroids.npy"
WEIGHTS = "bucket_weights.npy"


class FastPlaidFolder(ForeignFolder):
    """An index that fast-plaid has written, frozen or not."""

    KIND = "fast-plaid"

    def _read_codec(self) -> tuple[Floats, Codebook]:
        cutoffs = _load(self.path / "bucket_cutoffs.npy")
        codebook = codebook_of(self.path, _load(self.path / WEIGHTS), cutoffs)
        return centroids_of(self.path, _load(self.path / CENTROIDS)), codebook

    def _read_chunk(self, i: int) -> Chunk:
        return self._rows(i, "codes"), self._rows(i, "residuals")

    def _rows(self, i: int, what: str) -> Any:
        """The rows of a chunk: in its own file, or else in the merged one behind those of the chunks before it."""
        own = self.path / f"{i}.{what}.npy"
        if own.exists():
            return _load(own)
        merged = self.path / f"merged_{what}.manifest.json"
        manifest = read_json(merged, dict)
        try:
            rows = [manifest[f"{k}.{what}.npy"]["rows"] if f"{k}.{what}.npy" in manifest else 0 for k in range(i)]
            first, count = sum(rows), manifest[own.name]["rows"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{own} is missing, and {merged} does not have it ({error!r}). {ADVICE}") from error
        return _load(self.path / f"merged_{what}.npy")[first : first + count]


def _load(path: Path) -> Any:
    """An array, mapped; pickled objects, which could run code, are refused."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read ({error}). {ADVICE}") from error
