"""The PLAID folder of Stanford's ColBERT: PyTorch files, of which nothing but tensors is read.

===================== ===================================== ====================================================
file                  content                               type
===================== ===================================== ====================================================
centroids.pt          K centroids of unit length            float16 ``(K, dim)``
buckets.pt            cutoffs and weights of the codebook   tuple of ``(B - 1,)`` and ``(B,)``, ``B = 2 ** nbits``
avg_residual.pt       mean absolute residual                one number, or ``(dim,)``
{i}.codes.pt          the centroid of each token            int32 ``(T_i,)``
{i}.residuals.pt      the levels of each token              uint8 ``(T_i, dim * nbits / 8)``, see `foreign`
doclens.{i}.json      tokens of each document               list
{i}.metadata.json     where the chunk begins                documents, tokens, and how many of each
ivf.pid.pt            documents of each centroid, and how   tuple of int32 ``(D,)`` and int64 ``(K,)``
                      many
metadata.json         options and counts; also plan.json
===================== ===================================== ====================================================

Scores are those of ``normalise(centroid + weights[level])``.

Santhanam, Khattab, Potts, Zaharia: PLAID: An Efficient Engine for Late Interaction Retrieval. CIKM 2022.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pyterrier_lir.columns import Floats
from pyterrier_lir.index.codebook import Codebook
from pyterrier_lir.index.foreign import ADVICE, Chunk, ForeignFolder, centroids_of, codebook_of

CENTROIDS = "centroids.pt"
BUCKETS = "buckets.pt"


class StanfordFolder(ForeignFolder):
    """An index that Stanford's code has written, on a processor or on a GPU."""

    KIND = "Stanford"

    def _read_codec(self) -> tuple[Floats, Codebook]:
        buckets = _load(self.path / BUCKETS)
        if not isinstance(buckets, tuple | list) or len(buckets) != 2:
            raise ValueError(f"{self.path / BUCKETS} holds a {type(buckets).__name__}; expected two tensors. {ADVICE}")
        cutoffs, weights = (_numpy(self.path / BUCKETS, values) for values in buckets)
        return centroids_of(self.path, self._tensor(CENTROIDS)), codebook_of(self.path, weights, cutoffs)

    def _read_chunk(self, i: int) -> Chunk:
        return self._tensor(f"{i}.codes.pt"), self._tensor(f"{i}.residuals.pt")

    def _tensor(self, name: str) -> Any:
        return _numpy(self.path / name, _load(self.path / name))


def _load(path: Path) -> Any:
    """What a file holds, tensors on the processor; a file that would run code is refused."""
    import torch

    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises what it likes
        raise ValueError(f"{path} cannot be read ({type(error).__name__}: {error}). {ADVICE}") from error


def _numpy(path: Path, found: Any) -> np.ndarray[Any, Any]:
    import torch

    if not isinstance(found, torch.Tensor):
        raise ValueError(f"{path} holds a {type(found).__name__}; expected a tensor. {ADVICE}")
    return found.numpy()
