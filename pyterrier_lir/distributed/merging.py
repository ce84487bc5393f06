"""What shards are together: the facts of one index, and questions whose answers are merged."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pyterrier_lir.columns import Docids
from pyterrier_lir.distributed.shard import Best, Docnos, Facts

if TYPE_CHECKING:
    from pyterrier_lir.distributed.shards import Shards
    from pyterrier_lir.index.codec import Codec


class Named(NamedTuple):
    """Documents to which a search is confined, and how many of them have tokens."""

    docnos: tuple[str, ...]
    num_filled: int


class MergedStore:
    """The opened shards as methods see the store of an index; docids count on from shard to shard.

    Attributes:
        manifest: Of the first shard, with the counts of all.
        numbers: The number of each shard's manifest.
        starts: The docid of each shard's first document, and the number of all.
    """

    def __init__(self, shards: Shards, facts: Sequence[Facts]) -> None:
        counts = {name: sum(found.manifest[name] for found in facts) for name in ("documents", "tokens", "deleted")}
        self.shards = shards
        self.manifest = {**facts[0].manifest, **counts}
        self.numbers = [found.manifest["number"] for found in facts]
        self.starts = list(accumulate((found.docids for found in facts), initial=0))
        self.dim: int = self.manifest["dim"]
        self.encoder: str | None = self.manifest["encoder"]
        self._filled = sum(found.filled for found in facts)

    @cached_property
    def codec(self) -> Codec:
        """The codec of all shards, as the first one gives it."""
        return _certain(self.shards.ask("codec", {0: ()}))[0]  # type: ignore[no-any-return]

    @cached_property
    def cell_sizes(self) -> npt.NDArray[np.int64]:
        """How many tokens each centroid has in all shards; also for a partial result all must have said it once."""
        sizes: npt.NDArray[np.int64] = sum(_certain(self.shards.ask("cell_sizes", self._all())).values())
        return sizes

    def num_filled(self, wanted: Named | None) -> int:
        """How many documents have tokens, of all or of some."""
        return self._filled if wanted is None else wanted.num_filled

    def subset(self, docnos: Docnos) -> Named | None:
        """The documents of a search; None for all.

        Raises:
            ValueError: If docnos are unknown.
            ShardError: If a shard does not answer; what it holds is not known then.
        """
        if docnos is None:
            return None
        self.lookup(docnos)
        return Named(docnos, sum(_certain(self.shards.ask("filled", self._all(docnos))).values()))

    def lookup(self, docnos: Sequence[str], *, missing: str = "error") -> Docids:
        """The docids of docnos, -1 for unknown ones where ``missing="drop"``.

        Raises:
            ValueError: If docnos are unknown, or in two shards.
            ShardError: If a shard does not answer.
        """
        found = np.full(len(docnos), -1, dtype=np.int64)
        for number, docids in _certain(self.shards.ask("lookup", self._all(list(docnos)))).items():
            twice = (docids >= 0) & (found >= 0)
            _check_once([docnos[i] for i in np.flatnonzero(twice)[:3]])
            found = np.where(docids >= 0, docids + self.starts[number], found)
        if missing == "error" and (found < 0).any():
            unknown = list(dict.fromkeys(docnos[i] for i in np.flatnonzero(found < 0).tolist()))
            raise ValueError(
                f"{len(unknown)} docnos are in none of the {len(self.numbers)} shards: "
                f"{', '.join(map(repr, unknown[:3]))}; expected docnos that were indexed. Index those documents, or "
                'leave them out with missing="drop".'
            )
        return found

    def by_shard(self, docids: Docids) -> dict[int, npt.NDArray[np.bool_]]:
        """Which of some docids lie in each shard that has any of them."""
        home = np.searchsorted(self.starts, docids, side="right") - 1
        return {number: home == number for number in np.unique(home).tolist()}

    def _all(self, *arguments: Any) -> dict[int, tuple[Any, ...]]:
        return {number: arguments for number in range(len(self.numbers))}


class Asking:
    """The questions of one search; whoever does not answer one is not asked again.

    Args:
        store: The opened shards.
        whole: Whether all must answer, also where partial results are allowed.

    Attributes:
        missing: The shards that did not answer.
    """

    def __init__(self, store: MergedStore, *, whole: bool = False) -> None:
        self.store = store
        self.partial = store.shards.partial and not whole
        self.missing: set[int] = set()

    def best(self, method: str, *arguments: Any) -> Best:
        """Asks all shards for their best documents; their answers one after the other, with docids of all shards."""
        everybody = range(len(self.store.numbers))
        answers = self._ask(method, {number: arguments for number in everybody if number not in self.missing})
        found = [
            best._replace(docids=best.docids + self.store.starts[number]) for number, best in sorted(answers.items())
        ]
        docids, scores = (np.concatenate([best[i] for best in found]) for i in (0, 1))
        return Best(docids, scores, sum(best.of for best in found), sum(best.tokens for best in found))

    def scores(self, method: str, query: Any, docids: Docids, *arguments: Any) -> npt.NDArray[np.float32]:
        """Asks for scores of some documents, each where it lies; -inf where that shard does not answer."""
        homes = {n: here for n, here in self.store.by_shard(docids).items() if n not in self.missing}
        given = {n: (query, docids[here] - self.store.starts[n], *arguments) for n, here in homes.items()}
        scores = np.full(len(docids), -np.inf, dtype=np.float32)
        for number, found in self._ask(method, given).items():
            scores[homes[number]] = found
        return scores

    def names(self, docids: Docids) -> list[str | None]:
        """The docnos of docids; None where the shard does not answer.

        Raises:
            ValueError: If two shards have one of them.
        """
        homes = {n: here for n, here in self.store.by_shard(docids).items() if n not in self.missing}
        names = np.full(len(docids), None, dtype=object)
        given = {n: (docids[here] - self.store.starts[n],) for n, here in homes.items()}
        for number, found in self._ask("names", given).items():
            names[homes[number]] = found
        seen: set[str] = set()
        _check_once([name for name in names if name is not None and (name in seen or seen.add(name))])  # type: ignore
        return names.tolist()  # type: ignore[no-any-return]

    def _ask(self, method: str, arguments: dict[int, tuple[Any, ...]]) -> dict[int, Any]:
        """The answers that came.

        Raises:
            ShardError: If one did not and the result must be whole, or if none did.
        """
        answers = self.store.shards.ask(method, arguments) if arguments else {}
        failed = {n: answer for n, answer in answers.items() if isinstance(answer, Exception)}
        if failed and not self.partial:
            raise next(iter(failed.values()))
        self.missing |= set(failed)
        if len(self.missing) == len(self.store.numbers):
            raise next(iter(failed.values()))  # nothing at all is no partial result
        return {n: answer for n, answer in answers.items() if n not in failed}


def _certain(answers: dict[int, Any]) -> dict[int, Any]:
    """Answers that must be there."""
    for answer in answers.values():
        if isinstance(answer, Exception):
            raise answer
    return answers


def _check_once(docnos: Sequence[str]) -> None:
    if docnos:
        raise ValueError(
            f"The docno {docnos[0]!r} is in two shards; expected every document once. Delete it in one of them."
        )
