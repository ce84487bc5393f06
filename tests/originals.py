"""Folders as other engines write them, and the vectors that they stand for."""

import json

import numpy as np
import torch
from conftest import DATA
from corpora import clustered

import pyterrier_lir as lir

LENGTHS = [[3, 0, 5, 1], [4], [2, 7, 0]]  # tokens of the documents of three chunks
TOKENS = sum(map(sum, LENGTHS))


def stanford_bytes(levels, nbits):
    """Levels as bytes, written out in bits: each with its least significant bit first."""
    rows = ["".join(f"{level:0{nbits}b}"[::-1] for level in row) for row in levels.tolist()]
    return np.array([[int(row[i : i + 8], 2) for i in range(0, len(row), 8)] for row in rows], dtype=np.uint8)


class Original:
    """What the folders of the tests hold, and the vectors that it stands for."""

    def __init__(self, *, nbits=2, dim=16, k=7, lengths=LENGTHS, seed=0):
        rng = np.random.default_rng(seed)
        self.nbits, self.lengths = nbits, lengths
        tokens = sum(map(sum, lengths))
        self.centroids = clustered(k, dim, seed=seed).astype(np.float16)
        values = np.sort(rng.normal(0, 0.1, 2 * 2**nbits - 1)).astype(np.float16)
        self.weights, self.cutoffs = values[::2], values[1::2].astype(np.float32)
        self.codes = rng.integers(0, k, tokens)
        self.levels = rng.integers(0, 2**nbits, (tokens, dim)).astype(np.uint8)
        self.residuals = stanford_bytes(self.levels, nbits)
        vectors = self.centroids.astype(float)[self.codes] + self.weights.astype(float)[self.levels]
        self.vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    @property
    def documents(self):
        ends = np.cumsum([n for lengths in self.lengths for n in lengths])
        return np.split(self.vectors, ends[:-1])

    def chunks(self):
        start = 0
        for i, lengths in enumerate(self.lengths):
            rows = slice(start, start + sum(lengths))
            yield i, lengths, self.codes[rows], self.residuals[rows]
            start = rows.stop

    def stanford(self, path):
        path.mkdir()
        torch.save(torch.from_numpy(self.centroids), path / "centroids.pt")
        torch.save((torch.from_numpy(self.cutoffs), torch.from_numpy(self.weights)), path / "buckets.pt")
        for i, lengths, codes, residuals in self.chunks():
            torch.save(torch.from_numpy(codes.astype(np.int32)), path / f"{i}.codes.pt")
            torch.save(torch.from_numpy(residuals), path / f"{i}.residuals.pt")
            (path / f"doclens.{i}.json").write_text(json.dumps(lengths))
        config = {"nbits": self.nbits, "dim": self.levels.shape[1]}
        counts = {"num_chunks": len(self.lengths), "num_embeddings": len(self.codes)}
        (path / "metadata.json").write_text(json.dumps({"config": config, **counts}))
        return path

    def fast_plaid(self, path, merged=()):
        """Chunks in ``merged`` have no files of their own."""
        path.mkdir()
        arrays = {"centroids": self.centroids, "bucket_weights": self.weights, "bucket_cutoffs": self.cutoffs}
        for name, array in arrays.items():
            np.save(path / f"{name}.npy", array if name == "centroids" else array.astype(np.float32))
        for i, lengths, codes, residuals in self.chunks():
            (path / f"doclens.{i}.json").write_text(json.dumps(lengths))
            if i not in merged:
                np.save(path / f"{i}.codes.npy", codes)
                np.save(path / f"{i}.residuals.npy", residuals)
        if merged:
            for what, rows in (("codes", self.codes), ("residuals", self.residuals)):
                held = [sum(lengths) for lengths in self.lengths]
                files = {f"{i}.{what}.npy": {"rows": n, "merged": i in merged} for i, n in enumerate(held)}
                (path / f"merged_{what}.manifest.json").write_text(json.dumps(files))
                stale = rows.copy()
                for i, n in enumerate(held):
                    if i not in merged:
                        stale[sum(held[:i]) : sum(held[:i]) + n] = 0
                np.save(path / f"merged_{what}.npy", np.concatenate([stale, rows[:2]]))  # and rows of nothing
        counts = {"nbits": self.nbits, "num_chunks": len(self.lengths), "num_embeddings": len(self.codes)}
        (path / "metadata.json").write_text(json.dumps({**counts, "num_documents": sum(map(len, self.lengths))}))
        return path


def imported(folder, path, **options):
    return lir.LirIndex.from_plaid(folder, path, verbose=False, **options)


def names_in(folder):
    return [entry.name for entry in folder.iterdir()]


LOTTE = DATA / "data" / "lotte-500-gnd" / "colbertv2"
