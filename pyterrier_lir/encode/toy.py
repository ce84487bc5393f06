"""A deterministic encoder without a model: for tests, documentation and first steps."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from pyterrier_lir import arguments
from pyterrier_lir.columns import Ints
from pyterrier_lir.encode.base import Encoded, Encoder, Located, checked_texts

_WORD = re.compile(r"\w+")


class ToyEncoder(Encoder):
    """Gives every word its own random unit vector, drawn from a hash of the word.

    Equal words have similarity 1, different words about 0 (standard deviation ``1/sqrt(dim)``), so MaxSim
    counts the query's words that a document holds. Nothing is downloaded or trained; the same word has the same
    vector on every machine.

    Args:
        dim: Dimensions of a vector.
        seed: Another seed gives other vectors.
        batch_size: As for every encoder; it changes nothing but the size of PyTerrier's indexing chunks.
        text_field: The column or columns with a document's text; several are joined by a blank.

    Raises:
        ValueError: If a number has no meaning.

    Example:
        >>> encoder = ToyEncoder(dim=4)
        >>> encoder.encode_queries(["Tomatoes grow"])[0].embs.shape
        (2, 4)
    """

    LABEL = "Toy Encoder"

    def __init__(
        self, *, dim: int = 32, seed: int = 0, batch_size: int = 256, text_field: str | tuple[str, ...] = "text"
    ) -> None:
        arguments.check_counts(dim=dim, batch_size=batch_size)
        arguments.check_seed(seed)
        self.dim = dim
        self.seed = seed
        self.batch_size = batch_size
        self.text_field = text_field
        self._words: dict[int, str] = {}

    @property
    def fingerprint(self) -> str:
        """Names the dimension and the seed, on which alone the vectors depend."""
        return f"toy-{self.dim}-{self.seed}"

    def encode_queries(self, texts: Sequence[str]) -> list[Encoded]:
        """One row per word, in lower case; a blank text has no rows."""
        texts = checked_texts(texts)
        return [self._encode(text) for text in texts]

    def encode_docs(self, texts: Sequence[str]) -> list[Encoded]:
        """As `encode_queries`: a word has one vector, wherever it stands."""
        return self.encode_queries(texts)

    def locate_docs(self, texts: Sequence[str]) -> list[Located]:
        """As `encode_docs`, with the characters of each word."""
        texts = checked_texts(texts)
        return [Located(*self._encode(text), self.token_spans(text)) for text in texts]

    def token_spans(self, text: str) -> Ints:
        """The characters of each word: int32 ``(n, 2)``."""
        return np.array([match.span() for match in _WORD.finditer(text)], np.int32).reshape(-1, 2)

    def tokens(self, ids: Ints) -> list[str]:
        """The word of each id; of words that this encoder has not met, the number."""
        return [self._words.get(int(i), f"#{i}") for i in ids]

    def facts(self) -> dict[str, object]:
        """Dimensions and fingerprint."""
        return {"dimensions": self.dim, "fingerprint": self.fingerprint}

    def _encode(self, text: str) -> Encoded:
        words = [word.lower() for word in _WORD.findall(text)]
        self._words |= {word_id(word): word for word in words}
        embs = np.stack([self._vector(word) for word in words]) if words else np.zeros((0, self.dim), np.float32)
        return Encoded(embs, np.array([word_id(word) for word in words], dtype=np.int32))

    def _vector(self, word: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        entropy = [self.seed, int.from_bytes(_digest(word), "little")]
        vector = np.random.default_rng(entropy).standard_normal(self.dim)
        return (vector / np.linalg.norm(vector)).astype(np.float32)


def _digest(word: str) -> bytes:
    return hashlib.blake2b(word.encode(), digest_size=8).digest()


def word_id(word: str) -> int:
    """An id for any word, without a vocabulary."""
    return int.from_bytes(_digest(word)[:4], "little") >> 1  # 31 bits: a vocabulary id is not negative
