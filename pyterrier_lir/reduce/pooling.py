"""Token pooling: similar tokens of a document become one vector, their mean.

The first ``protected`` rows stay. The other n become ``max(n // factor, 1)`` groups, and every group one row: with
factor 2 half of the vectors, with 3 a third. No training, and the queries stay as they are.

Which rows go together:

- ``hierarchical``: Ward's clustering of cosine distances ``1 - cos(a, b)``, as PyLate (after 1.3.4) and
  sentence-transformers do it, with scipy's tree like them. Theirs do not say which rows they merged, and a pooled row
  must keep a token id.
- ``kmeans``: spherical k-means. It begins with the sequential groups, so it needs no seed.
- ``sequential``: neighbours in the text.

Clavié, Chaffin, Adams: Reducing the Footprint of Multi-Vector Retrieval with Minimal Performance Impact via Token
Pooling. arXiv:2409.14683, 2024.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir import arguments, kernels
from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.reduce.reducer import Reducer

Labels = npt.NDArray[np.integer]
ITERATIONS = 10  # of k-means; it stops earlier when nothing changes


def hierarchical_groups(rows: Floats, count: int) -> Labels:
    """The group of each row by Ward's method on cosine distances; fewer groups where distances tie."""
    from scipy.cluster.hierarchy import fcluster, linkage

    off = np.abs(np.linalg.norm(rows, axis=1, keepdims=True) - 1) > 0.01
    rows = np.where(off, unit(rows), rows)  # vectors of unit length as they are, up to rounding in an index
    distances = np.clip(1 - rows @ rows.T, 0, 2)
    # The condensed form: a square matrix would be taken for the coordinates of n points, without a warning.
    tree = linkage(distances[np.triu_indices(len(rows), k=1)], method="ward")
    labels: Labels = fcluster(tree, t=count, criterion="maxclust")
    return labels


def kmeans_groups(rows: Floats, count: int) -> Labels:
    """The group of each row by spherical k-means, from the sequential groups on."""
    labels = sequential_groups(rows, count)
    for _ in range(ITERATIONS):
        means, _members = group_means(rows, labels)
        nearest = kernels.nearest(rows, unit(means))[0]
        if np.array_equal(nearest, labels):
            break
        labels = nearest
    return labels


def sequential_groups(rows: Floats, count: int) -> Labels:
    """The group of each row if neighbours go together, all groups of nearly one size."""
    return np.arange(len(rows)) * count // len(rows)


METHODS: dict[str, Callable[[Floats, int], Labels]] = {
    "hierarchical": hierarchical_groups,
    "kmeans": kmeans_groups,
    "sequential": sequential_groups,
}


class TokenPooling(Reducer):
    """Replaces similar token vectors of a document by their mean.

    Expected columns: ``doc_embs``; ``doc_tok_ids`` if it is there. Output: the same columns, ``doc_embs`` float32
    ``(m', dim)`` with ``m' <= protected + max((m - protected) // factor, 1)``; a pooled row keeps the token id of its
    member that is nearest to the mean. Stands between the encoder and the index, or before ``lir.MaxSim()``.

    Args:
        factor: How many rows become one on average, at least 1; 1 changes nothing.
        method: ``"hierarchical"``, ``"kmeans"`` or ``"sequential"``.
        protected: Rows at the beginning that stay: [CLS], and a marker.
        normalise: Scale all rows of what is pooled to unit length, as sentence-transformers does. Without, a row is the
            mean as it is, and no score is larger than that of the whole document.

    Raises:
        ValueError: If an argument has no meaning, or ``doc_embs`` is no matrix.

    Example:
        >>> import pandas as pd
        >>> rows = [[0, 1], [1, 0], [1, 0], [0, 1]]
        >>> document = pd.DataFrame({"docno": ["d"], "doc_embs": [rows]})
        >>> TokenPooling(2, protected=0)(document)["doc_embs"][0].tolist()
        [[0.0, 1.0], [1.0, 0.0]]

    .. cite.dblp:: journals/corr/abs-2409-14683
    """

    LABEL = "Token Pooling"

    def __init__(
        self, factor: float, *, method: str = "hierarchical", protected: int = 1, normalise: bool = True
    ) -> None:
        arguments.check_number("factor", factor, 1, sys.float_info.max, "at least 1: 2 leaves half of the vectors")
        arguments.check_choice("method", method, METHODS)
        arguments.check_flags(normalise=normalise)
        arguments.check_counts(0, protected=protected)
        self.factor = factor
        self.method = method
        self.protected = protected
        self.normalise = normalise

    def reduce(self, embs: Floats, tok_ids: Ints | None, *beside: Any) -> tuple[Floats, Ints | None]:
        """Pools one document; see the class."""
        if self.factor == 1:
            return embs, tok_ids
        rest = embs[self.protected :]
        count = max(int(len(rest) // self.factor), 1)
        if count < len(rest):
            means, members = group_means(rest, METHODS[self.method](rest, count))
            embs = np.concatenate([embs[: self.protected], means])
            if tok_ids is not None:
                tok_ids = np.concatenate([tok_ids[: self.protected], tok_ids[self.protected :][members]])
        return (unit(embs) if self.normalise else embs), tok_ids


def group_means(rows: Floats, labels: Labels) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The mean of each group, in the order of the labels, and the row of each that is nearest to it."""
    _, groups, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    firsts = np.cumsum(sizes) - sizes
    by_group = np.argsort(groups, kind="stable")
    means: Floats = (np.add.reduceat(rows[by_group], firsts, axis=0) / sizes[:, None]).astype(np.float32)
    distances = ((rows - means[groups]) ** 2).sum(axis=1)
    return means, np.lexsort((distances, groups))[firsts]


def unit(rows: Floats) -> Floats:
    """The rows at unit length; a row of zeros stays one."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Floats = (rows / np.where(norms > 0, norms, 1)).astype(np.float32)
    return scaled
