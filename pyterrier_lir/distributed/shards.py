"""`Shards`: several indexes with one codec, each perhaps on a machine of its own, searched as one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from pyterrier_lir import arguments
from pyterrier_lir.columns import Docids
from pyterrier_lir.distributed.cluster import cluster
from pyterrier_lir.distributed.merging import MergedStore
from pyterrier_lir.distributed.methods import ShardedExhaustive, ShardedMaxSim, ShardedPlaid, ShardedWarp
from pyterrier_lir.distributed.shard import Facts, Shard
from pyterrier_lir.index import build, compress, manifest
from pyterrier_lir.index.artifact import LirIndex
from pyterrier_lir.index.makes import makes
from pyterrier_lir.index.manifest import CODECS
from pyterrier_lir.index.store import Store

NAME = "000001"  # of the one segment, and of the codec, of a shard
OPENING = 600  # seconds that a shard has to be opened, on a machine that may have to be started first


class ShardError(RuntimeError):
    """A shard did not answer."""


class Shards:
    """Indexes with one codec that together hold the documents of one index, searched as that one.

    ``encoder.query_encoder() >> shards.plaid()`` has the options and the ranking of ``index.plaid()``: each question
    goes to all shards at once, and what they answer is merged before the next one is asked. Equal scores are in the
    order of the shards. `split` makes shards of an index.

    Args:
        indexes: The indexes, or their folders, in the order of their documents.
        ray: Whether each is opened by a Ray actor, on the cluster that Ray is connected to, on that of
            ``RAY_ADDRESS``, or on one that is started on this machine; else threads of this process search them.
        timeout: Seconds that a shard has for an answer.
        partial: What happens if one does not answer: False for a `ShardError`; True for the results of the others,
            with a column ``shards_missing`` that says for each query how many shards its results lack.
        worker_options: Ray's options of each actor, one for all or one for each shard, such as
            ``{"resources": {"shard-3": 1}}`` to have it run where the folder is.

    Raises:
        ValueError: If the indexes differ in codec, encoder or options.
        FileNotFoundError: If one is not built; raised when the first search opens them.
        ImportError: If ``ray`` is set and Ray is not installed.

    Example:
        >>> from pyterrier_lir import LirIndex, ToyEncoder
        >>> index = LirIndex.example()
        >>> shards = Shards.split(index, index._directory.parent / "shards", 2)
        >>> (ToyEncoder() >> shards.exhaustive(num_results=1)).search("flour")["docno"].tolist()
        ['bread']
    """

    def __init__(
        self,
        indexes: Sequence[LirIndex | str | Path],
        *,
        ray: bool = False,
        timeout: float = 30,
        partial: bool = False,
        worker_options: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
    ) -> None:
        if isinstance(indexes, (str, Path, LirIndex)) or not indexes:
            raise ValueError(f"indexes is {indexes!r}; expected a list of indexes or folders, at least one.")
        arguments.check_number("timeout", timeout, 1e-3, 1e9, "seconds, more than 0")
        paths = [index._directory if isinstance(index, LirIndex) else Path(index) for index in indexes]
        self.paths = tuple(path.absolute() for path in paths)
        if len(set(self.paths)) < len(self.paths):
            raise ValueError(f"indexes names {len(self.paths)} folders, {len(set(self.paths))} of them distinct.")
        self.ray = ray
        self.timeout = timeout
        self.partial = partial
        self.worker_options = worker_options
        self._opened: tuple[LocalShards | RayShards, MergedStore] | None = None

    @classmethod
    def split(
        cls, index: LirIndex, folder: str | Path, count: int, *, memory_mb: float = 512, **options: Any
    ) -> Shards:
        """Writes the documents of an index into shards of about equally many tokens, under its codec.

        Args:
            index: The index; it stays as it is.
            folder: Where the shards will be: ``shard-000``, ``shard-001``, ...
            count: How many.
            memory_mb: Bounds the memory for blocks of tokens.
            options: Of `Shards`.

        Raises:
            ValueError: If there are fewer documents than shards, or something is in the folder already.
        """
        arguments.check_counts(count=count)
        build.check_megabytes(memory_mb=memory_mb)
        store, target = index.store, Path(folder)
        if target.exists() and any(target.iterdir()):
            raise ValueError(f"{target} is not empty; expected a new folder for the shards. Choose another one.")
        live = store.live_docids
        if len(live) < count:
            raise ValueError(f"count is {count}; expected at most one shard for each of the {len(live)} documents.")
        store.verify()  # else what is damaged would be copied and get a checksum of its own
        paths = [target / f"shard-{number:03d}" for number in range(count)]
        try:
            for path, docids in zip(paths, _equal_parts(store, live, count), strict=True):
                _write(path, store, docids, memory_mb)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)  # some of the documents are no index
            raise
        return cls(paths, **options)

    # --- searching -------------------------------------------------------------------------------------------

    exhaustive = makes(ShardedExhaustive)
    plaid = makes(ShardedPlaid)
    warp = makes(ShardedWarp)
    maxsim = makes(ShardedMaxSim)

    # --- what the methods need of an index -------------------------------------------------------------------

    @property
    def built(self) -> bool:
        """Whether all shards are finished indexes."""
        return self._opened is not None or all(manifest.read(path) is not None for path in self.paths)

    @property
    def store(self) -> MergedStore:
        """The opened shards."""
        if self._opened is None:
            backend = (RayShards if self.ray else LocalShards)(self.paths, _each(self.worker_options, len(self.paths)))
            try:
                asked = backend.ask("facts", {number: (None,) for number in range(len(self.paths))})
                facts: list[Facts] = [self._answer(number, future, OPENING) for number, future in asked.items()]
                _check(self.paths, facts)
            except BaseException:
                backend.close()
                raise
            self._opened = backend, MergedStore(self, facts)
        return self._opened[1]

    def ask(self, method: str, arguments: dict[int, tuple[Any, ...]]) -> dict[int, Any]:
        """Calls a method of several shards at once, within the time-out.

        Args:
            method: One of `Shard`.
            arguments: By the number of the shard.

        Returns:
            By the number of the shard: the answer, or a `ShardError` in the place of one.
        """
        if self._opened is None:
            self.store  # noqa: B018 - opens
        assert self._opened is not None
        backend, store = self._opened
        deadline = time.monotonic() + self.timeout
        futures = backend.ask(method, {n: (store.numbers[n], *given) for n, given in arguments.items()})
        answers: dict[int, Any] = {}
        for number, future in futures.items():
            try:
                answers[number] = self._answer(number, future, deadline - time.monotonic())
            except ShardError as error:
                answers[number] = error
        return answers

    def close(self) -> None:
        """Ends what was started; the next search opens the shards anew, as they are then."""
        if self._opened is not None:
            self._opened[0].close()
            self._opened = None

    def __enter__(self) -> Shards:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, number: int, future: Future[Any], seconds: float) -> Any:
        """The answer of a shard.

        Raises:
            ShardError: If there is none in time, or its process died.
            Exception: What the shard says is wrong with the question, or with its files.
        """
        try:
            return future.result(max(seconds, 0))
        except TimeoutError as error:
            what, cause = f"did not answer within {self.timeout:g} s", error
        except (ValueError, FileNotFoundError):
            raise
        except Exception as error:
            if isinstance(getattr(error, "cause", None), (ValueError, FileNotFoundError)):  # of a Ray task
                raise error.cause from error  # type: ignore[attr-defined]
            what, cause = f"failed: {type(error).__name__}: {error}", error  # type: ignore[assignment]
        raise ShardError(
            f"Shard {number}, {self.paths[number]}, {what}; expected an answer. Look at its machine, give it more time "
            "with timeout=, or take what the others find with partial=True."
        ) from cause

    # --- a value ---------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """The number of documents, without deleted ones."""
        return int(self.store.manifest["documents"])

    def __bool__(self) -> bool:
        return True

    def _key(self) -> tuple[Any, ...]:
        return self.paths, self.ray, self.timeout, self.partial, repr(self.worker_options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shards) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        options = {"ray": (self.ray, False), "partial": (self.partial, False), "timeout": (self.timeout, 30)}
        shown = "".join(f", {name}={value}" for name, (value, default) in options.items() if value != default)
        return f"Shards({[str(path) for path in self.paths]}{shown})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}  # another process opens its own


class LocalShards:
    """Shards of this process; each has a thread."""

    def __init__(self, paths: Sequence[Path], _: Sequence[dict[str, Any]]) -> None:
        self.shards = [Shard(path) for path in paths]
        self.pool = ThreadPoolExecutor(len(paths), thread_name_prefix="shard")

    def ask(self, method: str, arguments: dict[int, tuple[Any, ...]]) -> dict[int, Future[Any]]:
        """As `Shards.ask`, without waiting."""
        return {n: self.pool.submit(self.shards[n].answer, method, *given) for n, given in arguments.items()}

    def close(self) -> None:
        """Lets the threads end."""
        self.pool.shutdown(wait=False, cancel_futures=True)


class RayShards:
    """Shards as Ray actors; one that dies is started again."""

    def __init__(self, paths: Sequence[Path], options: Sequence[dict[str, Any]]) -> None:
        self._cluster = cluster(len(paths))
        self._ray = self._cluster.__enter__()
        made = self._ray.remote(Shard)
        self.actors = [
            made.options(max_restarts=-1, max_task_retries=0, **given).remote(path)
            for path, given in zip(paths, options, strict=True)
        ]

    def ask(self, method: str, arguments: dict[int, tuple[Any, ...]]) -> dict[int, Future[Any]]:
        """As `Shards.ask`, without waiting."""
        return {n: self.actors[n].answer.remote(method, *given).future() for n, given in arguments.items()}

    def close(self) -> None:
        """Ends the actors, and the cluster if it was started for them."""
        for actor in self.actors:
            self._ray.kill(actor)
        self._cluster.__exit__(None, None, None)


def _each(options: dict[str, Any] | Sequence[dict[str, Any]] | None, count: int) -> list[dict[str, Any]]:
    """The options of each actor."""
    if options is None or isinstance(options, dict):
        return [options or {}] * count
    if len(options) != count:
        raise ValueError(f"worker_options has {len(options)} entries; expected one dict, or {count}: one for each.")
    return list(options)


def _check(paths: Sequence[Path], facts: Sequence[Facts]) -> None:
    """Raises a ValueError unless the shards can be parts of one index."""
    for name in ("codec", "encoder", "dim", "nbits", "keep_embs"):
        said = [found.codec if name == "codec" else found.manifest[name] for found in facts]
        for path, value in zip(paths, said, strict=True):
            if value != said[0]:
                raise ValueError(
                    f"The shard {path} has the {name} {value!r}, but {paths[0]} has {said[0]!r}; expected one for all. "
                    "Make shards of one index: Shards.split(index, folder, count)."
                )
    if facts[0].codec is None:
        raise ValueError(f"The shard {paths[0]} holds empty documents only; expected some tokens.")


def _equal_parts(store: Store, docids: Docids, count: int) -> list[Docids]:
    """Runs of documents with about equally many tokens each, and at least one document."""
    lengths = np.concatenate([np.diff(segment.offsets) for segment in store.segments])[docids]
    ends = np.cumsum(lengths + 1)  # so that empty documents count a little
    cuts = np.searchsorted(ends, ends[-1] * np.arange(1, count) / count)
    cuts = np.maximum.accumulate(np.maximum(cuts, np.arange(1, count)))
    return np.split(docids, np.minimum(cuts, len(docids) - count + np.arange(1, count)))


def _write(path: Path, store: Store, docids: Docids, memory_mb: float) -> None:
    """Writes some documents of an index as an index with the same codec."""
    parts = []
    for start, segment in store.parts():
        here = docids[(docids >= start) & (docids < start + len(segment))] - start
        if len(here):
            parts.append(compress.Part.of(segment, here))
    block, keep_embs = build.block_size(store.segments, memory_mb), store.manifest["keep_embs"]
    manifest.make_folder(path)
    segment = build.merge(path, NAME, parts, store.codec, store.segments, keep_embs=keep_embs, block=block)
    codec = None
    if store.codec is not None:
        store.codec.save(path / CODECS / NAME)
        codec = NAME, store.codec
    parameters, trained = store.manifest["parameters"], store.manifest["trained"]
    manifest.commit(path, None, [segment], codec, np.zeros(0, np.int64), parameters=parameters, trained=trained)
