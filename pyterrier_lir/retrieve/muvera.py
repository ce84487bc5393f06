"""`Muvera`: MUVERA's encodings as columns, for any engine that searches single vectors; see `fde` for the method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_lir import columns, frames
from pyterrier_lir.columns import Floats
from pyterrier_lir.index.artifact import LirIndex
from pyterrier_lir.index.scoring import threads
from pyterrier_lir.ragged import Ragged
from pyterrier_lir.retrieve.fde import Fde, FdeEncoder
from pyterrier_lir.transformer import LirTransformer


class Muvera(LirTransformer):
    """Encodes multi-vectors as single ones: ``query_embs -> query_vec`` and ``doc_embs -> doc_vec``.

    With them any engine for single vectors carries late interaction, by inner product:
    ``encoder >> lir.Muvera() >> FlexIndex(...)`` indexes, ``encoder >> lir.Muvera() >> flex.faiss_hnsw_retriever()``
    finds candidates, and ``>> index.maxsim()`` gives them exact scores. For an index of this package
    `LirIndex.muvera` does all of this by itself.

    ``<query_vec, doc_vec> / reps`` estimates ``MaxSim``; with a centre c it estimates ``MaxSim - sum_i w_i <q_i, c>``,
    which is less by the same for all documents of a query. Documents are centred, values and cells; of queries the
    cells are, not the values. Both sides need the same arguments.

    Expected columns: ``query_embs``, with ``query_weights`` honoured if it is there, or ``doc_embs``, or both. Adds
    ``query_vec`` or ``doc_vec``, float32 ``(reps * 2 ** k_sim * d_proj,)`` or ``(final_dim,)``; zeros where there are
    no vectors. Values are the same on all machines with a fused multiply-add, whatever the frame and the threads.

    Args:
        k_sim: Hyperplanes of a repetition, which cut space into ``2 ** k_sim`` cells.
        d_proj: Dimensions of a cell's block; None, or at least those of the vectors, for no projection.
        reps: Repetitions, R.
        final_dim: Values of the encoding after a final projection; None for none.
        fill_empty: Whether empty cells of documents are filled with the nearest vector.
        projection: ``"dense"``, random signs; ``"sparse"``, one sign per dimension.
        center: Subtracted from documents: a vector, or a `LirIndex` for the mean of its centroids; None for
            nothing. It pays where the vectors have a mean that is not small.
        seed: Of all that is random.
        num_threads: Threads on the processor; None for all cores.

    Raises:
        ValueError: If a parameter has no meaning, a cell is no matrix of finite numbers, or the centre has another
            dimension.

    Example:
        >>> frame = pd.DataFrame([{"docno": "a", "doc_embs": np.eye(3, 32, dtype=np.float32)}])
        >>> Muvera(k_sim=3, d_proj=8, reps=20)(frame)["doc_vec"][0].shape
        (1280,)

    .. cite.dblp:: conf/nips/JayaramDHLM24
    """

    LABEL = "MUVERA Encoder"

    def __init__(
        self,
        *,
        k_sim: int = 5,
        d_proj: int | None = 16,
        reps: int = 20,
        final_dim: int | None = None,
        fill_empty: bool = True,
        projection: str = "dense",
        center: Sequence[float] | Floats | LirIndex | None = None,
        seed: int = 0,
        num_threads: int | None = None,
    ) -> None:
        self.k_sim = k_sim
        self.d_proj = d_proj
        self.reps = reps
        self.final_dim = final_dim
        self.fill_empty = fill_empty
        self.projection = projection
        self.center = center if center is None or isinstance(center, LirIndex) else _as_tuple(center)
        self.seed = seed
        self.num_threads = num_threads
        Fde.of(self).check()
        threads(num_threads)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Encodes the sides that are there."""
        with frames.validated(inp, self) as v:
            v.query_frame([columns.QUERY_EMBS])
            v.document_frame([columns.DOC_EMBS])
            v.columns(includes=[columns.QUERY_EMBS])
            v.columns(includes=[columns.DOC_EMBS])
        sides = (
            (columns.QUERY_EMBS, columns.QUERY_VEC, self._queries),
            (columns.DOC_EMBS, columns.DOC_VEC, self._documents),
        )
        added = {
            vec: columns.object_column(encode(inp) if len(inp) else [])
            for embs, vec, encode in sides
            if embs in inp.columns
        }
        return inp.reset_index(drop=True).assign(**added)

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer:
        """Rows are encoded one by one: cut first, encode what is left."""
        return pt.RankCutoff(k) >> self

    def _queries(self, inp: pd.DataFrame) -> list[Floats]:
        inp = frames.with_query_embs(inp)
        pairs = zip(inp[columns.QUERY_EMBS], frames.cells(inp, columns.QUERY_WEIGHTS), strict=True)
        queries = [columns.as_query(embs, weight) for embs, weight in pairs]
        return list(self._encoder([embs for embs, _ in queries], columns.QUERY_EMBS).queries(queries))

    def _documents(self, inp: pd.DataFrame) -> list[Floats]:
        documents = [columns.as_document(embs)[0] for embs in inp[columns.DOC_EMBS]]
        return list(self._encoder(documents, columns.DOC_EMBS).documents(Ragged.from_list(documents)))

    def _encoder(self, matrices: Sequence[Floats], column: str) -> FdeEncoder:
        center = self.center.store.center if isinstance(self.center, LirIndex) else self.center
        dims = {matrix.shape[1] for matrix in matrices if len(matrix)}
        if len(dims) > 1:
            raise ValueError(
                f"{column} has matrices of {' and '.join(map(str, sorted(dims)))} dimensions; expected the same for "
                "all. Encode them with one encoder."
            )
        known = len(center) if center is not None else None
        dim = dims.pop() if dims else known or self.d_proj or 1
        if known not in (None, dim):
            raise ValueError(
                f"center has {known} dimensions, {column} has {dim}; expected the same. Take the centre from vectors "
                "of the same encoder."
            )
        vector = None if center is None else np.asarray(center, dtype=np.float32)
        return FdeEncoder(Fde.of(self), dim, vector, threads(self.num_threads))


def _as_tuple(center: Any) -> tuple[float, ...]:
    """A centre as a value that can be compared and hashed."""
    vector = np.asarray(center, dtype=np.float32)
    if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all():
        raise ValueError(
            f"center has shape {vector.shape}; expected a vector of finite numbers, as long as a token vector. Give "
            "the mean of the token vectors, or a LirIndex to take it from."
        )
    return tuple(vector.tolist())
