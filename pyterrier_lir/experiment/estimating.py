"""What an index of a corpus will take: bytes, hours, memory and milliseconds, from measured costs and how they grow.

With N documents of L tokens, T = N L tokens of d dimensions, b bits, and K = 2^floor(log2(16 sqrt T)) centroids:

====================== ================================================================================================
bytes of a token       b d / 8 + c + 1 + 4 (token ids) + 2 d (``keep_embs``), c = 2, or 4 where K is over 65,536
bytes of a document    24 + its docno, and (c + 4) for each of its delta L distinct centroids
bytes of the codec     (5 d + 12) K + (4 d + 8) sqrt K
WARP's copy            b d / 8 + 5 for each token, 8 K
disk while building    2 d T (spool) + compressed tokens + the index
CPU seconds            T (store + e0 + e1 sqrt K) + 40 K (t0 + t1 sqrt K) + n N: 40 tokens for each centroid are trained
                       on, and a token is compared with about 5 sqrt K centroids
memory while building  ``memory_mb`` + 24 bytes for each of 40 K tokens + 12 d K + 8 N
PLAID, ms on a thread  p0 + p1 K + candidates (p2 + p3 min(1, K / 32768)), in cells of T / K tokens (4, or 8 where K is
                       over 65,536), + p4 L for each document beyond 128 that gets an exact score: K / 64 of them, but
                       1,024 at most
WARP, ms on a thread   w0 + w1 S + w2 p T / K, S = K, or 33 sqrt K centroids in 32 groups where K is over 32,768, and
                       p = 32 cells, or K / 256 where K is over 8,192, but 512 at most
====================== ================================================================================================

The constants were measured on one core of an AMD EPYC without AVX-512, with 128 dimensions and 20 to 40 rows a query;
`benchmarks/estimate.py` measures them again and compares. Times on another machine differ by a factor that one build of
a sample shows.
"""

from __future__ import annotations

from math import exp, sqrt
from typing import TYPE_CHECKING, Any

from pyterrier_lir import arguments
from pyterrier_lir.index.kmeans import POINTS_PER_CENTROID, number_of_centroids
from pyterrier_lir.retrieve.plaid import measured_settings
from pyterrier_lir.retrieve.warp import cells_to_probe

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex

DISTINCT = 0.95  # distinct centroids of a document, as a share of its tokens
STORE, ENCODE, TRAIN = 5.1, (1.9, 0.029), (5.3, 0.0125)  # microseconds of a token of 128 dimensions
DOCUMENT = 25  # microseconds of a document
ROWS, DIM = 32, 128  # for which the constants below hold
PLAID_BASE, PLAID_CENTROID, PLAID_CANDIDATE, PLAID_MISS = 3.7, 0.13e-3, 0.55e-3, 0.53e-3  # milliseconds
PLAID_TOKEN = 0.055e-3
WARP_BASE, WARP_CENTROID, WARP_CELL = 3.0, 0.1e-3, 0.436e-3
MOST_MET, MET = 0.41, 0.405  # candidates: at most this share of documents; documents for each token in the cells
FEW_CENTROIDS, GROUPS = 1 << 15, 32  # up to so many WARP scores all, else those of so many groups


class Estimate(dict[str, float]):
    """Quantities by name; prints as a table."""

    def __str__(self) -> str:
        shown = {name: _shown(name, value) for name, value in self.items()}
        left, right = max(map(len, shown)), max(map(len, shown.values()))
        return "\n".join(f"{name.replace('_', ' '):<{left}}  {value:>{right}}" for name, value in shown.items())


def estimate(
    documents: int,
    tokens_per_document: float | None = None,
    *,
    like: LirIndex | None = None,
    dim: int = 128,
    nbits: int = 4,
    keep_embs: bool = False,
    tok_ids: bool = True,
    docno_bytes: float = 10,
    query_rows: int = 32,
    cores: int = 1,
    shards: int = 1,
    encode_tokens_per_second: float | None = None,
) -> Estimate:
    """What an index of so many documents takes; see the module for the formula.

    Args:
        documents: N.
        tokens_per_document: L, on average; None where ``like`` is given.
        like: An index of a sample of the corpus: its tokens per document, dimensions, bits, docnos and options are
            taken, and what was given of these is not.
        dim: Dimensions of a token.
        nbits: Bits of a dimension.
        keep_embs: Whether the vectors stay in fp16.
        tok_ids: Whether token ids are stored, as encoders of this package give them.
        docno_bytes: Bytes of a docno.
        query_rows: Rows of a query.
        cores: Cores that build, all machines together.
        shards: Shards that search at the same time.
        encode_tokens_per_second: Of the encoder, all devices together; None to leave encoding out. On one core of the
            machine above all-MiniLM-L6-v2 has 3,300.

    Returns:
        ``documents``, ``tokens``, ``centroids``; ``index_gb``, ``warp_copy_gb``, ``build_disk_gb`` (10^9 bytes),
        ``bytes_per_token``; ``encode_hours``, ``build_hours``, ``build_cpu_seconds``; ``build_memory_gb`` of a process;
        ``plaid_ms`` and ``warp_ms`` of a query for ten results, each shard on one thread and its files in memory, and
        ``memory_per_shard_gb`` for that.

    Raises:
        ValueError: If an argument is not such a number, or neither ``tokens_per_document`` nor ``like`` is given.

    Example:
        >>> print(estimate(138_364_198, 65)["centroids"])
        1048576
    """
    arguments.check_counts(documents=documents, query_rows=query_rows, cores=cores, shards=shards, dim=dim)
    arguments.check_flags(keep_embs=keep_embs, tok_ids=tok_ids)
    arguments.check_number("docno_bytes", docno_bytes, 0, 1e9, "at least 0")
    if encode_tokens_per_second is not None:
        arguments.check_number("encode_tokens_per_second", encode_tokens_per_second, 1e-9, 1e12, "more than 0")
    distinct = DISTINCT
    if like is not None:
        found = _of(like)
        tokens_per_document, docno_bytes, distinct = found["tokens"], found["docno"], found["distinct"]
        info = like.info()
        dim, nbits, keep_embs = info["dim"], info["nbits"], info["keep_embs"]
        tok_ids = like.store.has_tok_ids
    arguments.check_choice("nbits", nbits, (1, 2, 4, 8))
    if tokens_per_document is None:
        raise ValueError("tokens_per_document is None; expected their mean, or like= with an index of a sample.")
    arguments.check_number("tokens_per_document", tokens_per_document, 1e-9, 1e9, "more than 0")
    tokens = max(1, round(documents * tokens_per_document))
    k = min(number_of_centroids(tokens), tokens)
    sizes = _bytes(documents, tokens, k, dim, nbits, keep_embs, tok_ids, docno_bytes, distinct)
    cpu = _build_seconds(documents, tokens, k) * dim / DIM
    memory = 512e6 + 24 * POINTS_PER_CENTROID * k + 12 * dim * k + 8 * documents
    out: dict[str, float] = {
        "documents": documents, "tokens": tokens, "centroids": k,
        "bytes_per_token": sizes["index"] / tokens, "index_gb": sizes["index"] / 1e9,
        "warp_copy_gb": sizes["warp"] / 1e9, "build_disk_gb": sizes["build"] / 1e9,
    }  # fmt: skip
    if encode_tokens_per_second is not None:
        out["encode_hours"] = tokens / encode_tokens_per_second / 3600
    return Estimate(
        out,
        build_hours=cpu / cores / 3600,
        build_cpu_seconds=cpu,
        build_memory_gb=memory / 1e9,
        plaid_ms=_plaid_ms(documents / shards, tokens / shards, k, query_rows),
        warp_ms=_warp_ms(tokens / shards, k, query_rows),
        memory_per_shard_gb=sizes["index"] / shards / 1e9,
    )


def _of(index: LirIndex) -> dict[str, float]:
    """What an index says of its documents."""
    info = index.info()
    count = len(index.store)
    sizes = info["bytes"]
    codes = sizes.get("doc_codes.u16", 0) / 2 + sizes.get("doc_codes.i32", 0) / 4
    tokens = sum(segment.num_tokens for segment in index.store.segments)
    return {"tokens": tokens / count, "docno": sizes["docnos.utf8"] / count, "distinct": codes / tokens}


def _bytes(
    documents: int, tokens: int, k: int, dim: int, nbits: int, keep_embs: bool, tok_ids: bool, docno: float,
    distinct: float,
) -> dict[str, float]:  # fmt: skip
    code = 2 if k <= 1 << 16 else 4
    residual = -(-dim * nbits // 8)
    token = residual + code + 1 + 4 * tok_ids + 2 * dim * keep_embs
    codec = (5 * dim + 12) * k + (4 * dim + 8) * sqrt(k)
    index = tokens * (token + (code + 4) * distinct) + documents * (24 + docno) + codec
    compressed = tokens * (residual + code + 1)
    spool = tokens * (2 * dim + 4 * tok_ids) + documents * (16 + docno)
    return {"index": index, "warp": tokens * (residual + 5) + 8 * k, "build": spool + compressed + index}


def _build_seconds(documents: int, tokens: int, k: int) -> float:
    """CPU seconds from vectors to an index, 128 dimensions."""
    store = tokens * (STORE + ENCODE[0] + ENCODE[1] * sqrt(k))
    train = min(tokens, POINTS_PER_CENTROID * k) * (TRAIN[0] + TRAIN[1] * sqrt(k))
    return 1e-6 * (store + train + documents * DOCUMENT)


def _plaid_ms(documents: float, tokens: float, k: int, rows: int) -> float:
    """Milliseconds of ``index.plaid(num_results=10)``."""
    most = MOST_MET * documents
    settings = measured_settings(10, k)
    more = min(settings.ndocs // 4, documents) - 128
    met = most * (1 - exp(-MET * settings.nprobe * rows * 0.625 * tokens / k / most))
    candidate = PLAID_CANDIDATE + PLAID_MISS * min(1, k / 32768)
    scoring = PLAID_TOKEN * max(more, 0) * tokens / documents
    return (PLAID_BASE + PLAID_CENTROID * k + met * candidate + scoring) * _longer(rows)


def _warp_ms(tokens: float, k: int, rows: int) -> float:
    """Milliseconds of ``index.warp(num_results=10)``."""
    scored = k if k <= FEW_CENTROIDS else min(k, (GROUPS + 1) * sqrt(k))
    return (WARP_BASE + WARP_CENTROID * scored + WARP_CELL * cells_to_probe(k) * tokens / k) * _longer(rows)


def _longer(rows: int) -> float:
    """Longer queries take longer in proportion; kernels work on blocks of 16 rows."""
    return max(1.0, -(-rows // 16) * 16 / ROWS)


def _shown(name: str, value: Any) -> str:
    return f"{value:,.0f}" if name in ("documents", "tokens", "centroids", "build_cpu_seconds") else f"{value:,.2f}"
