"""The kernels in NumPy: what the compiled ones must compute.

These functions are the specification that the compiled kernels are tested against, and stand in for them where none
could be built. They take checked arguments; see the functions of the same names in :mod:`pyterrier_lir.kernels`.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

BLOCK = 16  # tokens that lie next to each other for scan_cells


def maxsim(
    query: npt.NDArray[np.float32],
    tokens: npt.NDArray[np.float16] | npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float32] | None,
    num_threads: int = 1,
) -> npt.NDArray[np.float32]:
    """MaxSim of documents ``tokens[starts[k]:ends[k]]``; ``num_threads`` is left to NumPy."""
    if weights is None:
        weights = np.ones(len(query), dtype=np.float32)
    scores = np.full(len(starts), -np.inf, dtype=np.float32)
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if start == end:
            continue  # no tokens, no maximum
        similarities = query @ tokens[start:end].astype(np.float32).T
        scores[k] = (weights * similarities.max(axis=1)).sum()
    return scores


def top_k(scores: npt.NDArray[np.floating], k: int) -> npt.NDArray[np.int64]:
    """Indices of the ``k`` best scores, ties by index, without those that are minus infinity."""
    found = np.flatnonzero(scores > -np.inf)
    k = min(k, len(found))
    if 0 < k < len(found):
        # Keep everything that ties with the k-th best: which of them are in is decided by index below.
        values = scores[found]
        found = found[values >= np.partition(values, len(found) - k)[len(found) - k]]
    return found[np.argsort(-scores[found], kind="stable")[:k]]


# -- token vectors as codes: a centroid's number and the packed levels of the residual


def pack(levels: npt.NDArray[np.uint8], nbits: int) -> npt.NDArray[np.uint8]:
    """Value ``j`` goes to byte ``j % width``, at bits ``nbits * (j // width)``: planes of contiguous values."""
    rows, dim = levels.shape
    width = packed_width(dim, nbits)
    packed = np.zeros((rows, width), dtype=np.uint8)
    for plane, first in enumerate(range(0, dim, width)):
        values = levels[:, first : first + width]
        packed[:, : values.shape[1]] |= values << np.uint8(nbits * plane)
    return packed


def unpack(packed: npt.NDArray[np.uint8], dim: int, nbits: int) -> npt.NDArray[np.uint8]:
    """The values that :func:`pack` was given."""
    mask = np.uint8(2**nbits - 1)
    planes = [packed >> np.uint8(nbits * plane) & mask for plane in range(8 // nbits)]
    return np.ascontiguousarray(np.concatenate(planes, axis=1)[:, :dim])


def unpack_levels(
    packed: npt.NDArray[np.uint8], dim: int, nbits: int, level_table: npt.NDArray[np.uint8] | None
) -> npt.NDArray[np.uint8]:
    """The values that :func:`pack` was given, or what a table has for them."""
    levels = unpack(packed, dim, nbits)
    return levels if level_table is None else level_table[levels]


def packed_width(dim: int, nbits: int) -> int:
    """Bytes of one packed row."""
    return -(-dim // (8 // nbits))


def nearest(
    x: npt.NDArray[np.float16] | npt.NDArray[np.float32], centroids: npt.NDArray[np.float32], num_threads: int = 1
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Number and score of each row's best centroid, the lowest number where several are best."""
    codes = np.zeros(len(x), dtype=np.int32)
    scores = np.zeros(len(x), dtype=np.float32)
    block = 1024  # rows, so that memory does not grow with them
    for first in range(0, len(x), block):
        products = x[first : first + block].astype(np.float32) @ centroids.T
        codes[first : first + block] = products.argmax(axis=1)
        scores[first : first + block] = products.max(axis=1)
    return codes, scores


def nearest_groups(
    x: npt.NDArray[np.float16] | npt.NDArray[np.float32],
    centroids: npt.NDArray[np.float32],
    count: int,
    num_threads: int = 1,
) -> npt.NDArray[np.int32]:
    """Numbers of each row's ``count`` best centroids, best first, the lower number where scores tie."""
    groups = np.zeros((len(x), count), dtype=np.int32)
    block = 1024
    for first in range(0, len(x), block):
        products = x[first : first + block].astype(np.float32) @ centroids.T
        groups[first : first + block] = np.argsort(-products, axis=1, kind="stable")[:, :count]
    return groups


def encode_residuals(
    x: npt.NDArray[np.float16] | npt.NDArray[np.float32],
    centroids: npt.NDArray[np.float32],
    codes: npt.NDArray[np.int32],
    step: npt.NDArray[np.float32],
    lo: npt.NDArray[np.float32],
    nbits: int,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Packed levels of ``x - centroids[codes]``, and the norms of what they stand for."""
    _check_codes(codes, np.arange(len(codes)), len(centroids))
    packed = np.zeros((len(x), packed_width(x.shape[1], nbits)), dtype=np.uint8)
    norms = np.zeros(len(x), dtype=np.float32)
    block = 4096
    for first in range(0, len(x), block):
        rows = slice(first, first + block)
        near = centroids[codes[rows]]
        levels = np.clip(np.rint((x[rows].astype(np.float32) - near - lo) / step), 0, 2**nbits - 1)
        packed[rows] = pack(levels.astype(np.uint8), nbits)
        decoded = ((near + lo) + levels * step).astype(np.float64)
        # Summed in order, in float64: the same on every machine.
        norms[rows] = np.sqrt(np.add.accumulate(decoded * decoded, axis=1)[:, -1]).astype(np.float32)
    return packed, norms


def maxsim_codes(
    centroid_scores: npt.NDArray[np.float32],
    query: npt.NDArray[np.int8],
    query_scale: npt.NDArray[np.float32],
    query_bias: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint16] | npt.NDArray[np.int32],
    packed: npt.NDArray[np.uint8],
    inv_norm: npt.NDArray[np.uint8] | None,
    inv_norm_table: npt.NDArray[np.float32] | None,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    nbits: int,
    level_table: npt.NDArray[np.uint8] | None,
    num_threads: int = 1,
) -> npt.NDArray[np.float32]:
    """MaxSim of documents ``starts[k]`` to ``ends[k]``, from integer dot products."""
    scores = np.full(len(starts), -np.inf, dtype=np.float32)
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if start == end:
            continue
        similarities = code_similarities(
            centroid_scores, query, query_scale, query_bias, codes, packed, inv_norm, inv_norm_table,
            np.arange(start, end), nbits, level_table,
        )  # fmt: skip
        scores[k] = sum_in_order(similarities.max(axis=0))
    return scores


def code_similarities(
    centroid_scores: npt.NDArray[np.float32],
    query: npt.NDArray[np.int8],
    query_scale: npt.NDArray[np.float32],
    query_bias: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint16] | npt.NDArray[np.int32],
    packed: npt.NDArray[np.uint8],
    inv_norm: npt.NDArray[np.uint8] | None,
    inv_norm_table: npt.NDArray[np.float32] | None,
    tokens: npt.NDArray[np.int64],
    nbits: int,
    level_table: npt.NDArray[np.uint8] | None,
) -> npt.NDArray[np.float32]:
    """Similarities of some tokens, a row for each, with all rows of the query."""
    _check_codes(codes, tokens, len(centroid_scores))
    products = integer_products(unpack_levels(packed[tokens], query.shape[1], nbits, level_table), query)
    similarities = (centroid_scores[codes[tokens], : len(query)] + query_bias) + query_scale * products
    if inv_norm is not None and inv_norm_table is not None:
        similarities = similarities * inv_norm_table[inv_norm[tokens], None]
    return similarities


# -- centroids and their cells


def centroid_scores(
    query: npt.NDArray[np.int8],
    query_scale: npt.NDArray[np.float32],
    centroids: npt.NDArray[np.int8],
    centroid_scale: npt.NDArray[np.float32],
    num_threads: int = 1,
) -> npt.NDArray[np.float32]:
    """Scores of all centroids, a column for each query row, and columns of zeros."""
    n = len(query)
    scores = np.zeros((len(centroids), padded_rows(n)), dtype=np.float32)
    scores[:, :n] = (query_scale * centroid_scale[:, None]) * integer_products(centroids, query)
    return scores


def score_table(
    scores: npt.NDArray[np.float32], n: int, num_threads: int = 1
) -> tuple[npt.NDArray[np.uint8], float, float]:
    """The scores as 0 to 255, from their minimum to their maximum; also the minimum and the width of a step."""
    table = np.zeros(scores.shape, dtype=np.uint8)
    used = scores[:, :n]
    if used.size == 0:
        return table, 0.0, 0.0
    lo, hi = used.min(), used.max()
    step = (hi - lo) / np.float32(255)
    with np.errstate(divide="ignore", over="ignore"):
        scale = np.float32(255) / (hi - lo)
    if np.isfinite(scale):
        table[:, :n] = np.minimum(np.floor((used - lo) * scale + np.float32(0.5)), 255)
    return table, float(lo), float(step)


def top_cells(scores: npt.NDArray[np.float32], n: int, p: int) -> npt.NDArray[np.int32]:
    """Numbers of each column's ``p`` best centroids, best first, ties by number."""
    return np.argsort(-scores[:, :n].T, axis=1, kind="stable")[:, :p].astype(np.int32)


def top_cells_in_groups(
    query: npt.NDArray[np.int8],
    query_scale: npt.NDArray[np.float32],
    centroids: npt.NDArray[np.int8],
    centroid_scale: npt.NDArray[np.float32],
    group_offsets: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int32],
    p: int,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Numbers and scores of each row's ``p`` best centroids among those of its groups, best first, ties by number."""
    cells = np.zeros((len(query), p), dtype=np.int32)
    scores = np.zeros((len(query), p), dtype=np.float32)
    for i, row in enumerate(groups):
        _check_groups(row, group_offsets, len(centroids))
        ranges = [np.arange(group_offsets[g], group_offsets[g + 1]) for g in np.sort(row)]
        members = np.concatenate([np.zeros(0, dtype=np.int64), *ranges])
        if len(members) < p:
            raise ValueError(f"the groups of row {i} hold {len(members)} centroids, but p is {p}; choose more groups")
        found = centroid_scores(query[i : i + 1], query_scale[i : i + 1], centroids[members], centroid_scale[members])
        best = np.argsort(-found[:, 0], kind="stable")[:p]
        cells[i], scores[i] = members[best], found[best, 0]
    return cells, scores


def candidates(
    cells: npt.NDArray[np.int32], cell_offsets: npt.NDArray[np.int64], cell_docs: npt.NDArray[np.int32], num_docs: int
) -> npt.NDArray[np.int64]:
    """The documents of some cells, ascending, each once."""
    _check_cells(cells, cell_offsets, len(cell_docs))
    lists = [cell_docs[cell_offsets[cell] : cell_offsets[cell + 1]] for cell in np.unique(cells)]
    docs = np.unique(np.concatenate([np.zeros(0, dtype=np.int32), *lists]))
    outside = (docs < 0) | (docs >= num_docs)
    if outside.any():
        raise ValueError(
            f"cell_docs contains {docs[outside][0]}, but there are {num_docs} documents; are they from another index?"
        )
    return docs.astype(np.int64)


def centroid_maxsim(
    table: npt.NDArray[np.uint8],
    n: int,
    doc_codes: npt.NDArray[np.uint16] | npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    num_threads: int = 1,
) -> npt.NDArray[np.int32]:
    """Sums over the query's rows of the best table entry among the codes ``starts[k]`` to ``ends[k]``."""
    scores = np.full(len(starts), -1, dtype=np.int32)
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if start < end:
            _check_codes(doc_codes, np.arange(start, end), len(table))
            scores[k] = table[doc_codes[start:end], :n].max(axis=0).sum(dtype=np.int32)
    return scores


# -- single tokens


def scan_cells(
    cells: npt.NDArray[np.int32],
    cell_scores: npt.NDArray[np.float32],
    query: npt.NDArray[np.int8],
    query_scale: npt.NDArray[np.float32],
    query_bias: npt.NDArray[np.float32],
    cell_offsets: npt.NDArray[np.int64],
    token_docs: npt.NDArray[np.int32],
    blocks: npt.NDArray[np.uint8],
    inv_norm: npt.NDArray[np.uint8] | None,
    inv_norm_table: npt.NDArray[np.float32] | None,
    nbits: int,
    level_table: npt.NDArray[np.uint8] | None,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Triples of all tokens in each row's cells."""
    _check_cells(cells.ravel(), cell_offsets, len(token_docs))
    width = packed_width(query.shape[1], nbits)
    docs, scores, counts = [np.zeros(0, np.int32)], [np.zeros(0, np.float32)], np.zeros(len(query), np.int64)
    for i, row in enumerate(cells):
        for cell, cell_score in zip(row, cell_scores[i], strict=True):
            t = np.arange(cell_offsets[cell], cell_offsets[cell + 1])
            packed = blocks[t // BLOCK, :, t % BLOCK].reshape(len(t), 4 * blocks.shape[1])[:, :width]
            levels = unpack_levels(packed, query.shape[1], nbits, level_table)
            products = integer_products(levels, query[i : i + 1])[:, 0]
            found = (cell_score + query_bias[i]) + query_scale[i] * products
            if inv_norm is not None and inv_norm_table is not None:
                found = found * inv_norm_table[inv_norm[t]]
            docs.append(token_docs[t])
            scores.append(found)
            counts[i] += len(t)
    return np.concatenate([[0], np.cumsum(counts)]), np.concatenate(docs), np.concatenate(scores)


def top_tokens(
    query: npt.NDArray[np.float32],
    tokens: npt.NDArray[np.float16] | npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    count: int,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The documents and scores of each row's best ``count`` tokens, in the order of the documents."""
    return _best_of_documents(lambda t: tokens[t].astype(np.float32) @ query.T, len(query), starts, ends, count)


def top_tokens_codes(
    centroid_scores: npt.NDArray[np.float32],
    query: npt.NDArray[np.int8],
    query_scale: npt.NDArray[np.float32],
    query_bias: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint16] | npt.NDArray[np.int32],
    packed: npt.NDArray[np.uint8],
    inv_norm: npt.NDArray[np.uint8] | None,
    inv_norm_table: npt.NDArray[np.float32] | None,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    nbits: int,
    level_table: npt.NDArray[np.uint8] | None,
    count: int,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """As `top_tokens`, with the similarities of `maxsim_codes`."""

    def similarities(t: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return code_similarities(
            centroid_scores, query, query_scale, query_bias, codes, packed, inv_norm, inv_norm_table, t, nbits,
            level_table,
        )  # fmt: skip

    return _best_of_documents(similarities, len(query), starts, ends, count)


def score_triples(
    row_offsets: npt.NDArray[np.int64],
    docs: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32],
    imputed: npt.NDArray[np.float32],
    num_docs: int,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """For every document the sum over rows of its best triple, or of what is imputed where it has none."""
    outside = (docs < 0) | (docs >= num_docs)
    if outside.any():
        raise ValueError(
            f"docs contains {docs[outside][0]}, but there are {num_docs} documents; are they from another index?"
        )
    found = np.unique(docs)
    sums = np.zeros(len(found), dtype=np.float32)
    for i, missing in enumerate(imputed):
        row = slice(row_offsets[i], row_offsets[i + 1])
        best = np.full(len(found), -np.inf, dtype=np.float32)
        np.maximum.at(best, np.searchsorted(found, docs[row]), scores[row])
        sums += np.where(best > -np.inf, best, missing)
    return found.astype(np.int64), sums


# -- shared


def padded_rows(n: int) -> int:
    """Columns that the scores of ``n`` query rows take: whole blocks of 16."""
    return -(-n // 16) * 16


def integer_products(left: npt.NDArray[np.integer], right: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """``left @ right.T``: float64 holds the sums exactly, and multiplies faster than NumPy's integers."""
    return (left.astype(np.float64) @ right.astype(np.float64).T).astype(np.float32)


def sum_in_order(values: npt.NDArray[np.float32]) -> np.float32:
    """The sum from left to right, rounded to float32 after every addition; ``np.sum`` adds in pairs."""
    return np.add.accumulate(values, dtype=np.float32)[-1] if len(values) else np.float32(0)


def blocks_shape(num_tokens: int, dim: int, nbits: int) -> tuple[int, int, int, int]:
    """The shape of packed tokens in blocks, four bytes of each of 16 tokens next to each other; see `scan_cells`."""
    return -(-num_tokens // BLOCK), -(-packed_width(dim, nbits) // 4), BLOCK, 4


def _best_of_documents(
    similarities: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]],
    n: int,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    count: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The best tokens of each of ``n`` rows as documents and scores, looking at a few documents at a time."""
    count = min(count, int((ends - starts).sum()))
    docs, scores = np.zeros((n, 0), np.int64), np.zeros((n, 0), np.float32)
    for first in range(0, len(starts) if count else 0, 64):
        tokens = [np.arange(starts[k], ends[k]) for k in range(first, min(first + 64, len(starts)))]
        here = np.repeat(np.arange(first, first + len(tokens)), [len(part) for part in tokens])
        docs = np.concatenate([docs, np.tile(here, (n, 1))], axis=1)
        scores = np.concatenate([scores, similarities(np.concatenate(tokens)).T], axis=1)
        kept = np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :count], axis=1)  # of equal ones the first
        docs, scores = np.take_along_axis(docs, kept, axis=1), np.take_along_axis(scores, kept, axis=1)
    return docs, scores


def _check_codes(codes: npt.NDArray[np.integer], tokens: npt.NDArray[np.integer], num_centroids: int) -> None:
    used = codes[tokens]
    outside = (used < 0) | (used >= num_centroids)
    if outside.any():
        t = tokens[outside][0]
        raise ValueError(
            f"codes[{t}] is {codes[t]}, but there are {num_centroids} centroids; are the codes from another index?"
        )


def _check_cells(cells: npt.NDArray[np.int32], cell_offsets: npt.NDArray[np.int64], num_entries: int) -> None:
    num_cells = len(cell_offsets) - 1
    outside = (cells < 0) | (cells >= num_cells)
    if outside.any():
        raise ValueError(
            f"cells contains {cells[outside][0]}, but there are {num_cells} cells; are they from another index?"
        )
    starts, ends = cell_offsets[cells], cell_offsets[cells + 1]
    wrong = (starts < 0) | (starts > ends) | (ends > num_entries)
    if wrong.any():
        k = np.flatnonzero(wrong)[0]
        raise ValueError(
            f"cell_offsets gives cell {cells[k]} the entries {starts[k]} to {ends[k]}, but they must not decrease and "
            f"lie within 0 to {num_entries}, the number of entries; is the file cut off?"
        )


def _check_groups(groups: npt.NDArray[np.int32], group_offsets: npt.NDArray[np.int64], num_centroids: int) -> None:
    num_groups = len(group_offsets) - 1
    for group in groups:
        if not 0 <= group < num_groups:
            raise ValueError(
                f"groups contains {group}, but there are {num_groups} groups; are they from another index?"
            )
        start, end = group_offsets[group], group_offsets[group + 1]
        if not 0 <= start <= end <= num_centroids:
            raise ValueError(
                f"group_offsets gives group {group} the centroids {start} to {end}, but there are {num_centroids}; "
                "is the file cut off?"
            )


# -- fixed dimensional encodings


def encode_fde(
    vectors: npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float32] | None,
    planes: npt.NDArray[np.float32],
    thresholds: npt.NDArray[np.float32],
    projections: npt.NDArray[np.float32] | None,
    places: npt.NDArray[np.int32] | None,
    signs: npt.NDArray[np.float32] | None,
    size: int,
    mean: bool,
    fill: bool,
    num_threads: int = 1,
) -> npt.NDArray[np.float32]:
    """One document after the other, one repetition after the other; ``num_threads`` is left to NumPy."""
    out = np.zeros((len(starts), size), dtype=np.float32)
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if start == end:
            continue
        rows = vectors[start:end]
        weighted = rows if weights is None else weights[start:end, None] * rows
        for rep, hyperplanes in enumerate(planes):
            cells = _cells(rows, weighted, hyperplanes, thresholds[rep], mean, fill)
            block = (cells if projections is None else cells @ projections[rep].T).ravel()
            part = slice(rep * len(block), (rep + 1) * len(block))
            if places is None or signs is None:
                out[k, part] = block
            else:
                np.add.at(out[k], places[part], signs[part] * block)
    return out


def _cells(
    rows: npt.NDArray[np.float32],
    weighted: npt.NDArray[np.float32],
    planes: npt.NDArray[np.float32],
    thresholds: npt.NDArray[np.float32],
    mean: bool,
    fill: bool,
) -> npt.NDArray[np.float32]:
    """What the cells of one repetition hold, ``(2 ** bits, d)``."""
    bits = rows @ planes.T > thresholds
    cells = bits @ (1 << np.arange(len(planes)))
    sums = np.zeros((1 << len(planes), rows.shape[1]), dtype=np.float32)
    np.add.at(sums, cells, weighted)
    counts = np.bincount(cells, minlength=len(sums))
    if mean:
        sums /= np.maximum(counts, 1)[:, None].astype(np.float32)
    if fill:
        empty = np.flatnonzero(counts == 0)
        distances = np.bitwise_count(empty[:, None] ^ cells)
        sums[empty] = rows[distances.argmin(axis=1)]  # the first of the nearest
    return sums


def inner_products(
    vector: npt.NDArray[np.float32],
    rows: npt.NDArray[np.float16],
    numbers: npt.NDArray[np.int64] | None,
    num_threads: int = 1,
) -> npt.NDArray[np.float32]:
    """Products with all rows, or those that are named, a block at a time."""
    count = len(rows) if numbers is None else len(numbers)
    products = np.zeros(count, dtype=np.float32)
    block = 256  # rows, so that memory does not grow with them
    for first in range(0, count, block):
        part = slice(first, first + block)
        # not a matrix product, whose rounding depends on where a row stands
        products[part] = (rows[part if numbers is None else numbers[part]].astype(np.float32) * vector).sum(axis=1)
    return products
