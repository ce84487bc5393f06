"""An imported index beside the folder that it comes from: scores, and overlap with exact search.

    python benchmarks/imports.py DATA             # writes benchmarks/results/imports.md

DATA is the folder ``lotte-500-gnd`` of https://github.com/DBGroup-SUSTech/multi-vector-retrieval: ``queries.tsv``, and
in ``colbertv2/`` a PLAID index of Stanford's code, the embeddings of the queries, and the ten best passages of each by
uncompressed embeddings.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from cached import RESULTS, markdown

import pyterrier_lir as lir
from pyterrier_lir.experiment import environment
from pyterrier_lir.index.foreign import levels_of
from pyterrier_lir.index.imports import open_folder

Found = set[tuple[str, str]]


def read_topics(data: Path) -> pd.DataFrame:
    """The queries with their embeddings."""
    qids = [line.split("\t")[0] for line in (data / "queries.tsv").read_text().splitlines()]
    return pd.DataFrame({"qid": qids, "query_embs": list(np.load(data / "colbertv2" / "query_embedding.npy"))})


def read_best(data: Path) -> Found:
    """Query and document of the ten best by exact search."""
    (file,) = (data / "colbertv2").glob("*top10*")
    table = pd.read_csv(file, sep="\t", names=["qid", "docno", "rank", "score"], dtype={"qid": str, "docno": str})
    return set(zip(table["qid"], table["docno"], strict=True))


def decompressed_scores(folder: Path, topics: pd.DataFrame) -> pd.DataFrame:
    """MaxSim of all documents with the vectors that the folder stands for, in float64."""
    source, rows = open_folder(folder), []
    offsets = source.offsets
    centroids, weights = source.centroids.astype(np.float64), source.codebook.weights.astype(np.float64)
    parts = [centroids[codes] + weights[levels_of(residuals, source.nbits)] for codes, residuals in source.chunks()]
    vectors = np.concatenate(parts)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for qid, query in zip(topics["qid"], topics["query_embs"], strict=True):
        scores = np.maximum.reduceat(query @ vectors.T, offsets[:-1], axis=1).sum(axis=0)
        rows.append(pd.DataFrame({"qid": qid, "docno": list(map(str, range(len(source)))), "score": scores}))
    return pd.concat(rows, ignore_index=True)


def top_ten(results: pd.DataFrame) -> Found:
    """Query and document of the ten best of each query."""
    best = results.sort_values("score", ascending=False, kind="stable").groupby("qid").head(10)
    return set(zip(best["qid"], best["docno"], strict=True))


def measure(data: Path) -> list[str]:
    """The tables."""
    topics, wanted, folder = read_topics(data), read_best(data), data / "colbertv2" / "plaid"
    decompressed = decompressed_scores(folder, topics)
    with tempfile.TemporaryDirectory() as temporary:
        index = lir.LirIndex.from_plaid(folder, Path(temporary) / "index", verbose=False)
        info = index.info()
        systems = {
            "index.exhaustive()": index.exhaustive(),
            "index.plaid()": index.plaid(num_results=10),
            'index.plaid(preset="paper")': index.plaid(num_results=10, preset="paper"),
            "index.warp()": index.warp(num_results=10),
            "index.warp() % 64 >> index.maxsim()": index.warp() % 64 >> index.maxsim(),
            "index.xtr()": index.xtr(num_results=10),
            "index.muvera() % 64 >> index.maxsim()": index.muvera() % 64 >> index.maxsim(),
        }
        found = {name: system(topics) for name, system in systems.items()}
    both = found["index.exhaustive()"].merge(decompressed, on=["qid", "docno"], suffixes=("", "_float64"))
    differences = (both["score"] - both["score_float64"]).abs()
    exact = top_ten(decompressed)
    cells = [["decompressed vectors, float64", f"{len(exact & wanted) / len(wanted):.3f}", "1.000"]]
    for name, results in found.items():
        best = top_ten(results)
        cells.append([f"`{name}`", f"{len(best & wanted) / len(wanted):.3f}", f"{len(best & exact) / len(exact):.3f}"])
    here = environment.describe()
    return [
        "# An imported index", "",
        f"- pyterrier-lir {here['versions']['pyterrier-lir']}, numpy {here['versions']['numpy']}, "
        f"Python {here['python']}, kernels `{here['kernels']}`.",
        f"- lotte-500-gnd: {info['documents']} passages, {info['tokens']} tokens of ColBERTv2, "
        f"{info['dim']} dimensions, {info['centroids']} centroids, {info['nbits']} bits; {len(topics)} queries of "
        f"{len(topics['query_embs'][0])} rows.",
        f"- Scores of `index.exhaustive()` differ from float64 MaxSim over the decompressed vectors by "
        f"{differences.max():.3f} at most and {differences.mean():.4f} on average, of scores up to "
        f"{both['score'].max():.1f}: queries are rounded to 8 bits a value, the codebook to 7.",
        "- Overlap of the ten best with those of the uncompressed embeddings, and with those of the decompressed ones.",
        "",
        *markdown(["search", "uncompressed", "decompressed"], cells), "",
        "Written by `benchmarks/imports.py`.", "",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder lotte-500-gnd")
    text = "\n".join(measure(parser.parse_args().data))
    print(text)
    (RESULTS / "imports.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
