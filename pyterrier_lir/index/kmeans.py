"""Two-level spherical k-means: centroids for the token vectors of a collection, in seconds instead of minutes.

A flat k-means compares every token with all K centroids. Here sqrt(K) coarse groups come first, then a k-means inside
each group, so that a token is compared with about ``sqrt(K) + groups * sqrt(K)`` centroids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir import kernels
from pyterrier_lir.columns import Floats

COARSE_ITERATIONS = 6
INNER_ITERATIONS = 5
POINTS_PER_CENTROID = 40  # more change nothing that can be measured
SUMMED = 4096  # points; part of the recipe, as sums of floats depend on their order
GROUPS_SEARCHED = 4  # groups in which a token looks for its centroid; one costs .014 of the mean cosine

Tokens = npt.NDArray[np.floating]
Progress = Callable[[Iterable[Any], str, int, int | None], Iterable[Any]]


@dataclass(frozen=True)
class Centroids:
    """Centroids that are sorted by the coarse group to which they belong.

    Attributes:
        vectors: Unit vectors, float32 ``(K, dim)``.
        coarse: Unit vectors, float32 ``(G, dim)``.
        offsets: Group g owns the centroids ``offsets[g]:offsets[g + 1]``; int64 ``(G + 1,)``.
    """

    vectors: Floats
    coarse: Floats
    offsets: npt.NDArray[np.int64]

    def assign(self, tokens: Tokens, *, block: int, num_threads: int = 1) -> tuple[npt.NDArray[np.int32], Floats]:
        """The centroid with the largest inner product, searched in the ``GROUPS_SEARCHED`` best groups.

        Args:
            tokens: float16 or float32 ``(n, dim)``.
            block: Tokens in memory at once.
            num_threads: Threads; the result does not depend on it.

        Returns:
            Centroid numbers, int32 ``(n,)``, and inner products, float32 ``(n,)``.
        """
        codes = np.empty(len(tokens), dtype=np.int32)
        best = np.empty(len(tokens), dtype=np.float32)
        for start in range(0, len(tokens), block):
            part = slice(start, start + block)
            codes[part], best[part] = self._assign_block(np.ascontiguousarray(tokens[part]), num_threads)
        return codes, best

    def _assign_block(self, tokens: Tokens, num_threads: int) -> tuple[npt.NDArray[np.int32], Floats]:
        codes = np.zeros(len(tokens), dtype=np.int32)
        best = np.full(len(tokens), -np.inf, dtype=np.float32)
        groups = _best_groups(tokens, self.coarse, GROUPS_SEARCHED, num_threads)
        order = np.argsort(groups, axis=None, kind="stable")
        borders = np.searchsorted(groups.ravel()[order], np.arange(len(self.coarse) + 1))
        for group in range(len(self.coarse)):
            members = order[borders[group] : borders[group + 1]] // groups.shape[1]
            lo, hi = self.offsets[group : group + 2]
            if len(members) and hi > lo:
                found, score = kernels.nearest(tokens[members], self.vectors[lo:hi], num_threads=num_threads)
                better = score > best[members]
                best[members[better]] = score[better]
                codes[members[better]] = found[better] + lo
        return codes, best


def number_of_centroids(tokens: int) -> int:
    """``2 ** floor(log2(16 sqrt(T)))`` for T tokens, as in ColBERTv2, and not more than there are tokens."""
    return min(1 << int(np.log2(16 * np.sqrt(tokens))), tokens) if tokens else 0


def two_level(
    sample: Tokens,
    k: int,
    *,
    seed: int,
    block: int,
    num_threads: int = 1,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Centroids:
    """Trains centroids on a random sample of tokens.

    Args:
        sample: float16 or float32 ``(n, dim)``, in random order; may be a memory map, of which a group is read at once.
        k: Number of centroids; fewer where the sample has fewer distinct tokens.
        seed: The same seed gives the same centroids, whatever the number of threads.
        block: Tokens in memory at once.
        num_threads: Threads, each on a group of its own.
        device: ``"cpu"``, or a GPU, which rounds products in another way and so ends in other centroids, as good ones.
        progress: Wraps the groups, given a name, how many are done and how many there are.
    """
    coarse_seed, *group_seeds = np.random.SeedSequence(seed).spawn(1 + _number_of_groups(k))
    rng = np.random.default_rng(coarse_seed)
    count = _number_of_groups(k)
    points = sample[: max(20_000, 50 * count)].astype(np.float32)
    coarse = kmeans(points, count, COARSE_ITERATIONS, rng, num_threads=num_threads, device=device)
    groups = np.concatenate([_nearest(part, coarse, num_threads, device) for part in _blocks(sample, block)])
    order = np.argsort(groups, kind="stable")
    borders = np.searchsorted(groups[order], np.arange(len(coarse) + 1))
    shares = _shares(np.diff(borders), k)

    def inner(group: int) -> Floats:
        members = order[borders[group] : borders[group + 1]][: POINTS_PER_CENTROID * shares[group]]
        rng = np.random.default_rng(group_seeds[group])
        points = sample[np.sort(members)].astype(np.float32)
        return kmeans(points, int(shares[group]), INNER_ITERATIONS, rng, device=device)

    with ThreadPoolExecutor(num_threads) as pool:
        results = pool.map(inner, range(len(coarse)))
        parts = list(progress(results, "Training", 0, len(coarse)) if progress else results)
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return Centroids(np.concatenate(parts), coarse, offsets)


def grouped(vectors: Floats, *, num_threads: int = 1) -> tuple[Centroids, npt.NDArray[np.int64]]:
    """Sorts centroids that were trained elsewhere into coarse groups, which a k-means over them finds.

    Args:
        vectors: Unit vectors, float32 ``(K, dim)``.
        num_threads: Threads; the result does not depend on it.

    Returns:
        The centroids in our order, and the number in ``vectors`` of each, int64 ``(K,)``.
    """
    count = _number_of_groups(len(vectors))
    coarse = kmeans(vectors, count, COARSE_ITERATIONS, np.random.default_rng(0), num_threads=num_threads)
    groups = _best_groups(vectors, coarse, 1, num_threads)[:, 0]
    order = np.argsort(groups, kind="stable")
    offsets = np.searchsorted(groups[order], np.arange(len(coarse) + 1)).astype(np.int64)
    return Centroids(vectors[order], coarse, offsets), order


def kmeans(
    points: Floats, k: int, iterations: int, rng: np.random.Generator, *, num_threads: int = 1, device: str = "cpu"
) -> Floats:
    """Spherical k-means: unit centroids that maximise the sum over points of the best inner product.

    Args:
        points: float32 ``(n, dim)``.
        k: Number of centroids; all distinct points where there are not more.
        iterations: Rounds of assigning every point and taking the mean of each cluster.
        rng: Chooses the first centroids, and new ones for clusters that became empty.
        num_threads: Threads; the result does not depend on it.
        device: ``"cpu"``, or a GPU.

    Returns:
        float32 ``(min(k, n), dim)``.
    """
    if len(points) <= k:
        return _unit(np.unique(points, axis=0)) if len(points) else points
    centroids = _unit(points[np.sort(rng.choice(len(points), k, replace=False))])
    for _ in range(iterations):
        codes = _nearest(points, centroids, num_threads, device)
        centroids = _unit(_means(points, codes, centroids, rng))
    return centroids


def _nearest(points: Tokens, centroids: Floats, num_threads: int, device: str) -> npt.NDArray[np.int32]:
    """The centroid of each point, int32 ``(n,)``."""
    if device == "cpu":
        return kernels.nearest(np.ascontiguousarray(points), centroids, num_threads=num_threads)[0]
    from pyterrier_lir.kernels import gpu

    return gpu.nearest(points, centroids, device=device)[0]


def _means(points: Floats, codes: npt.NDArray[np.int32], centroids: Floats, rng: np.random.Generator) -> Floats:
    """Directions of the means: the sums, of `SUMMED` points at a time, since sorting them copies them."""
    sums = np.zeros_like(centroids)
    for start in range(0, len(points), SUMMED):
        part = codes[start : start + SUMMED]
        order = np.argsort(part, kind="stable")
        used, begins = np.unique(part[order], return_index=True)
        sums[used] += np.add.reduceat(points[start : start + SUMMED][order], begins, axis=0)
    unused = np.setdiff1d(np.arange(len(centroids)), codes)
    sums[unused] = points[rng.choice(len(points), len(unused))]  # begin anew at a random point
    return sums


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)


def _number_of_groups(k: int) -> int:
    return round(np.sqrt(k)) if k >= 256 else 1  # below, comparing with all centroids costs nothing


def _best_groups(tokens: Tokens, coarse: Floats, count: int, num_threads: int) -> npt.NDArray[np.int32]:
    """The ``count`` best groups of each token, int32 ``(n, count)``."""
    count = min(count, len(coarse))
    if count == 1:
        return kernels.nearest(np.ascontiguousarray(tokens), coarse, num_threads=num_threads)[0][:, None]
    return kernels.nearest_groups(np.ascontiguousarray(tokens), coarse, count, num_threads=num_threads)


def _shares(sizes: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
    """Splits k centroids over groups in proportion to their sizes; every group with points gets one."""
    first = np.minimum(sizes, 1)
    exact = (k - first.sum()) * (sizes - first) / max((sizes - first).sum(), 1)
    shares = np.floor(exact).astype(np.int64)
    left = k - first.sum() - shares.sum()
    shares[np.argsort(shares - exact, kind="stable")[: max(left, 0)]] += 1  # largest remainders first
    return np.minimum(first + shares, sizes)


def _blocks(tokens: Tokens, block: int) -> Iterator[Tokens]:
    for start in range(0, len(tokens), block):
        yield tokens[start : start + block]
