"""LEMUR: MaxSim becomes one inner product by regression, learned from the index alone.

For a query token x, ``y_D(x) = max_{d in D} <x, d>`` is a convex, piecewise linear function, and
``MaxSim(Q, D) = sum_i w_i y_D(q_i)``. So with features F of a token and a vector v_D for each document,

    y_D(x) ~ <F(x), v_D>    gives    MaxSim(Q, D) ~ <sum_i w_i F(q_i), v_D>,

a single vector for the query and one for each document, which any engine for inner products searches.

1. *Features*: ``F(x) = (x, 1, relu(W x + b))``, of ``dim + 1 + hidden`` values. Units begin as planes at tokens of the
   index; a small network ``<F(x), v_D>`` is then trained to give ``y_D(x)`` of `TARGETS` documents, by Adam on the
   squared error, and W and b are kept. Without training (``epochs=0``) they are random features.
2. *Vectors*: v_D by ridge regression of y_D on the features of sampled tokens; the same system for all documents,
   solved once: ``v_D = (A^T A + ridge n I)^-1 A^T y_D`` with the rows of A the features of the n tokens.

Tokens are those of the index, since there are no queries: a query's tokens are taken to lie where the documents' do. A
document of one vector is represented exactly, because its y_D is linear. Features and the system depend on the codec
and on the first segment only, so that added documents get vectors without anything else being made again.

Jääsaari, Hyvönen, Roos: LEMUR: Learned Multi-Vector Retrieval. 2026. There the features are a deeper network, and x is
not among them.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pyterrier_lir import arguments
from pyterrier_lir.columns import Docids, Floats
from pyterrier_lir.ragged import Ragged

if TYPE_CHECKING:
    from pyterrier_lir.index import files
    from pyterrier_lir.index.segment import Segment
    from pyterrier_lir.index.store import Store

TARGETS = 512  # documents whose functions the features are trained on
BATCH, LEARNING_RATE = 256, 3e-3  # of that training
TOKENS = 1 << 12  # of documents, in memory at once with their products


class Lemur(NamedTuple):
    """The parameters; see `LemurRetriever`."""

    hidden: int
    tokens: int
    epochs: int
    ridge: float
    seed: int

    @classmethod
    def of(cls, transformer: object) -> Lemur:
        """The parameters of a transformer."""
        return cls(*(getattr(transformer, name) for name in cls._fields))

    def check(self) -> None:
        """Raises a ValueError that names a parameter that cannot be."""
        arguments.check_counts(tokens=self.tokens)
        arguments.check_counts(0, hidden=self.hidden, epochs=self.epochs)
        arguments.check_seed(self.seed)
        arguments.check_number("ridge", self.ridge, 1e-12, float("inf"), "a number above 0, such as 1e-4")

    @property
    def name(self) -> str:
        """Short, and different for different parameters."""
        return f"h{self.hidden}-t{self.tokens}-e{self.epochs}-l{self.ridge:g}-seed{self.seed}"


class Features(NamedTuple):
    """What is learned: F, and what turns a document's y into its vector."""

    weight: Floats  # (hidden, dim)
    bias: Floats  # (hidden,)
    tokens: Floats  # (n, dim), those of the regression
    solve: Floats  # (n, size): v = y @ solve

    def __call__(self, rows: Floats) -> Floats:
        """F of each row, float32 ``(n, dim + 1 + hidden)``."""
        return features(rows, self.weight, self.bias)

    @property
    def size(self) -> int:
        """Values of a vector."""
        return self.solve.shape[1]

    def digest(self) -> str:
        """Tells features apart."""
        return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in self)).hexdigest()

    def query(self, rows: Floats, weights: Floats | None) -> Floats:
        """``sum_i w_i F(q_i)``, float32 ``(size,)``."""
        found = self(rows)
        summed: Floats = found.sum(axis=0) if weights is None else weights @ found
        return summed

    def documents(self, documents: Ragged) -> Floats:
        """The vectors of documents that have tokens, float32 ``(N, size)``."""
        return _product(maxima(self.tokens, documents).T, self.solve)


def features(rows: npt.NDArray[Any], weight: npt.NDArray[Any], bias: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``(x, 1, relu(W x + b))`` of each row."""
    hidden = np.maximum(rows @ weight.T + bias, 0)
    return np.concatenate([rows, np.ones((len(rows), 1), rows.dtype), hidden], axis=1)


def maxima(tokens: Floats, documents: Ragged) -> Floats:
    """``y_D(x) = max_{d in D} <x, d>`` for each token x and document, float32 ``(n, N)``."""
    found = np.empty((len(tokens), len(documents)), dtype=np.float32)
    first = 0
    while first < len(documents):
        begin = documents.offsets[first]
        last = max(int(np.searchsorted(documents.offsets, begin + TOKENS, side="right")) - 1, first + 1)
        products = _product(tokens, documents.values[begin : documents.offsets[last]].T)
        found[:, first:last] = np.maximum.reduceat(products, documents.offsets[first:last] - begin, axis=1)
        first = last
    return found


def learn(store: Store, lemur: Lemur) -> Features:
    """Samples tokens and documents of the first segment, trains the features, and solves the regression's system."""
    segment = next(segment for _, segment in store.parts() if segment.num_tokens)
    rng = np.random.default_rng(lemur.seed)
    tokens = sample(store, segment, lemur.tokens, rng)
    weight, bias = first_units(tokens, lemur.hidden, rng)
    if lemur.epochs and lemur.hidden:
        filled = np.flatnonzero(np.diff(segment.offsets))
        chosen = np.sort(rng.choice(filled, min(TARGETS, len(filled)), replace=False))
        rows = [store.vectors(segment, slice(*segment.offsets[[doc, doc + 1]].tolist())) for doc in chosen.tolist()]
        weight, bias = trained(tokens, maxima(tokens, Ragged.from_list(rows)), weight, bias, lemur)
    return Features(weight, bias, tokens, solution(features(tokens, weight, bias), lemur.ridge))


def sample(store: Store, segment: Segment, count: int, rng: np.random.Generator) -> Floats:
    """So many tokens of a segment, or all, in their order."""
    rows = np.sort(rng.choice(segment.num_tokens, min(count, segment.num_tokens), replace=False))
    return np.concatenate([store.vectors(segment, slice(row, row + 1)) for row in rows.tolist()])


def first_units(tokens: Floats, hidden: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Planes that each cut off what lies around a token: some half to nearly none of its similarity."""
    chosen = tokens[rng.integers(0, len(tokens), hidden)]
    bias = -rng.uniform(0.2, 0.8, hidden).astype(np.float32)
    return chosen.astype(np.float32), bias


def trained(tokens: Floats, targets: Floats, weight: Floats, bias: Floats, lemur: Lemur) -> tuple[Floats, Floats]:
    """W and b that explain the targets best, beside the linear part; standardised, so that documents count alike."""
    import torch

    targets = (targets - targets.mean()) / max(float(targets.std()), 1e-6)
    with one_thread():
        order = torch.Generator().manual_seed(lemur.seed)
        x, y = _tensor(tokens), _tensor(targets.astype(np.float32))
        w, b = _tensor(weight).requires_grad_(), _tensor(bias).requires_grad_()
        size = tokens.shape[1] + 1 + len(weight)
        v = torch.zeros(size, targets.shape[1], requires_grad=True)
        optimiser = torch.optim.Adam([w, b, v], lr=LEARNING_RATE)
        for _ in range(lemur.epochs):
            for rows in torch.randperm(len(x), generator=order).split(BATCH):
                part = x[rows]
                found = torch.cat([part, torch.ones(len(part), 1), torch.relu(part @ w.T + b)], dim=1)
                loss = ((found @ v - y[rows]) ** 2).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    return w.detach().numpy(), b.detach().numpy()


def solution(a: Floats, ridge: float) -> Floats:
    """``A (A^T A + ridge n I)^-1``, float32 ``(n, size)``: a document's vector is ``y_D`` times it."""
    exact = a.astype(np.float64)
    system = _product(exact.T, exact) + ridge * len(a) * np.eye(a.shape[1])
    with one_thread():
        import torch

        solved = torch.linalg.solve(_tensor(system), _tensor(exact.T))
    found: Floats = np.ascontiguousarray(solved.numpy().T.astype(np.float32))
    return found


def write(learned: Features, folder: files.Directory) -> None:
    """Keeps what was learned."""
    for name, array in learned._asdict().items():
        folder.file(f"{name}.f32").write(np.ascontiguousarray(array, "<f4").tobytes())


def read(folder: files.Opened, dim: int, hidden: int) -> Features:
    """What `write` wrote."""
    found = {name: folder.map(f"{name}.f32", "<f4") for name in Features._fields}
    return Features(
        found["weight"].reshape(hidden, dim),
        found["bias"],
        found["tokens"].reshape(-1, dim),
        found["solve"].reshape(-1, dim + 1 + hidden),
    )


class Regressed:
    """The vectors of the documents of some segments, made when they are read; a source of `vectors`."""

    def __init__(self, store: Store, parts: Sequence[tuple[int, Segment]], learned: Features, num_threads: int) -> None:
        self._store, self._parts, self._learned, self._threads = store, parts, learned, num_threads
        self.size = learned.size
        filled = [start + np.flatnonzero(np.diff(segment.offsets)) for start, segment in parts]
        self.docids: Docids = np.concatenate(filled).astype(np.int64)

    def blocks(self) -> Iterator[tuple[Docids, Floats]]:
        """Docids and vectors; as many blocks as threads are in memory at once."""
        blocks = self._store.blocks(TOKENS, self._parts)
        with one_thread(), ThreadPoolExecutor(self._threads) as pool:
            while taken := list(islice(blocks, self._threads)):
                made = pool.map(lambda block: self._learned.documents(block[1]), taken)
                yield from ((docids, found) for (docids, _), found in zip(taken, made, strict=True))

    def some(self, docids: Docids) -> Floats:
        """The vectors of a few documents."""
        documents = [self._store.document(docid)[0] for docid in docids.tolist()]
        return self._learned.documents(Ragged.from_list(documents))


def _product(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A matrix product on one thread, so that it does not depend on how many there are."""
    import torch

    with one_thread():
        return torch.mm(_tensor(a), _tensor(b)).numpy()


def _tensor(array: npt.NDArray[Any]) -> Any:
    """A copy in torch's own memory: MKL may round otherwise where an array begins at another address."""
    import torch

    return torch.tensor(np.ascontiguousarray(array))


class _OneThread:
    """torch's products run on the thread that calls them, while anyone is within."""

    def __init__(self) -> None:
        self.lock, self.users, self.before = threading.Lock(), 0, 1

    @contextmanager
    def __call__(self) -> Iterator[None]:
        import torch

        with self.lock:
            if not self.users:
                self.before = torch.get_num_threads()
                torch.set_num_threads(1)
            self.users += 1
        try:
            yield
        finally:
            with self.lock:
                self.users -= 1
                if not self.users:
                    torch.set_num_threads(self.before)


one_thread = _OneThread()
