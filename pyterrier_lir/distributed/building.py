"""Encoding and building on a Ray cluster: the same index, byte for byte, as one process makes.

1. *Encode*: the corpus is cut into numbered parts; actors encode them, and each part appears on disk at once.
2. *Train*: this process trains one codec on a sample of all parts.
3. *Compress*: actors compress the parts.
4. *Merge, commit*: this process joins them in their order and writes the manifest.

An actor that is killed is started again and its part done again; what is on disk survives this process as well, which
goes on with ``resume=True``. Stages 2 to 4 are those of `pyterrier_lir.index.build`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyterrier as pt

from pyterrier_lir import arguments, columns
from pyterrier_lir.distributed.cluster import Workers, cluster
from pyterrier_lir.index import build, compress, manifest
from pyterrier_lir.index.artifact import LirIndex
from pyterrier_lir.index.codec import Codec
from pyterrier_lir.index.indexer import progress_bar
from pyterrier_lir.index.scoring import threads
from pyterrier_lir.index.segment import Segment
from pyterrier_lir.index.spool import BUILD, SPOOL, Kind, Record, SeenDocnos, Spool, spooled

if TYPE_CHECKING:
    from pyterrier_lir.index.kmeans import Progress

MOST_PARTS = 999_999  # their names have six digits
SOURCE = "source"  # what a part's meta says of the documents of which it is made


def encode_and_build(
    corpus: Iterable[Record],
    encoder: pt.Transformer,
    path: str | Path,
    *,
    num_workers: int | None = None,
    worker_options: dict[str, Any] | None = None,
    part_size: int = 1000,
    resume: bool = False,
    overwrite: bool = False,
    nbits: int = 4,
    codec: str = "uniform",
    centroids: int | None = None,
    keep_embs: bool = False,
    seed: int = 0,
    memory_mb: float = 512,
    verbose: bool = True,
) -> LirIndex:
    """Encodes and indexes a corpus with workers on a Ray cluster.

    The cluster is the one that Ray is connected to, or that of ``RAY_ADDRESS``; where there is neither, one on this
    machine. All machines must see ``path``: a shared file system. The bytes of the index are those that
    ``(encoder >> index).index(corpus)`` writes, whatever the number of workers and whoever of them dies, as long as
    ``part_size`` is a multiple of that pipeline's chunk (100, or the encoder's ``batch_size`` if that is more) and the
    machines compute alike: an encoder's vectors depend, in their last bits, on what stands beside a text in its batch.

    Args:
        corpus: Records, read once, as for ``(encoder >> index).index(corpus)``.
        encoder: The encoder, or a pipeline that ends in ``doc_embs``: ``encoder >> lir.TokenPooling(2)``.
        path: Where the index will be.
        num_workers: Actors that encode and compress; None for the cores of this machine.
        worker_options: Ray's options of each: ``{"num_gpus": 1}``, ``{"num_cpus": 4}``.
        part_size: Documents in a part: what is encoded and written in one step, and lost with a worker that dies.
        resume: Go on with what an interrupted call stored, with ``overwrite=True`` where that was to replace an index.
            The corpus must be the same and in the same order.
        overwrite: Replace an index that is there, when the new one is finished, or drop what was interrupted.
        nbits: As of `LirIndex.indexer`, like the other options.
        codec: The kind of codec.
        centroids: Number of centroids; None for the field's rule.
        keep_embs: Keep the vectors in fp16 as well.
        seed: Of sample and clustering.
        memory_mb: Bounds the memory for blocks of tokens, in this process and in each worker.
        verbose: Show progress bars.

    Returns:
        The index, ready to be searched.

    Raises:
        ImportError: If Ray is not installed.
        ValueError: If the index is built already or interrupted, a document is unusable or comes twice, or a resumed
            corpus is another one; what is stored is not lost.
        RuntimeError: If workers died again and again over one part.
    """
    arguments.check_counts(part_size=part_size)
    arguments.check_optional_counts(num_workers=num_workers)
    arguments.check_flags(resume=resume, overwrite=overwrite)
    build.check_megabytes(memory_mb=memory_mb)
    parameters = build.Parameters(nbits, codec, centroids, keep_embs, seed)
    options = {"kind": build.DISTRIBUTED, "parameters": {**asdict(parameters), "part_size": part_size}}
    where, progress = Path(path).absolute(), progress_bar("part", verbose)
    count = threads(num_workers)
    manifest.make_folder(where)
    with manifest.only_writer(where):
        before = manifest.read(where)
        build.clean_up(where, before)
        if before and not overwrite:
            raise ValueError(
                f"The index at {where} is built already; expected an empty path. Replace it with overwrite=True, "
                "and resume=True to go on with that, append with index.add(records), or choose another path."
            )
        with build.finishing(where), cluster(count) as ray:
            build.begin(where, options, keep=resume, drop=overwrite)
            workers = Workers(ray, count, worker_options or {}, PartWorker, encoder, where / BUILD)
            try:
                _encode(where, workers, progress(corpus, "Encoding", 0, None), part_size)
                build.complete(
                    where, before, parameters, memory_mb=memory_mb, num_threads=threads(None), progress=progress,
                    compressed=lambda *of: _compress(workers, *of),
                )  # fmt: skip
            finally:
                workers.close()
    return LirIndex(path)


class PartWorker:
    """An actor: encodes parts, and compresses them when there is a codec.

    Args:
        pipeline: From records to ``doc_embs``.
        folder: The folder ``build/`` of the index.
    """

    def __init__(self, pipeline: pt.Transformer, folder: Path) -> None:
        self.pipeline = pipeline
        self.folder = folder

    def encode(self, number: int, records: list[Record]) -> int:
        """Encodes a part in the chunks of an indexing pipeline, and writes it."""
        (self.pipeline >> PartIndexer(self.folder / SPOOL, number, _digest(records))).index(iter(records))
        return number

    def compress(self, name: str, block: int) -> str:
        """Compresses the part of that name."""
        segment, chunk = Segment(self.folder / SPOOL / name), self.folder / build.CHUNKS / name
        compress.compress(segment, self._codec, chunk, block=block, num_threads=1)
        return name

    @cached_property
    def _codec(self) -> Codec:
        return Codec.load(self.folder / build.CODEC)


class PartIndexer(pt.Indexer):
    """The last stage of a worker's pipeline: writes all records as one spooled segment.

    Args:
        folder: The spool.
        number: Which part it is, from 1.
        source: Tells of which documents it is made.
    """

    def __init__(self, folder: Path, number: int, source: str) -> None:
        self.folder = folder
        self.number = number
        self.source = source

    def index(self, iter: Iterable[Record], **kwargs: Any) -> None:
        """Checks and writes the records; the segment appears when it is whole."""
        records = list(iter)
        spool = Spool(self.folder, [], sys.maxsize, like=_kind(records), note={SOURCE: self.source})
        spool.number = self.number
        if not records:  # the pipeline left nothing: that is known by a segment without documents
            spool.begin_segment()
        spool.fill(records)


def _kind(records: list[Record]) -> Kind | None:
    """What the documents of a part are like, as the first one with tokens says: a part of two widths has two segments.

    None where the first record is unusable, which the spool says better.
    """
    if not records or not isinstance(records[0], dict):
        return None
    widths = (columns.as_matrix(record.get(columns.DOC_EMBS), columns.DOC_EMBS).shape for record in records)
    dim = next((width for rows, width in widths if rows), 0)
    first = records[0]
    return Kind(dim, first.get(columns.DOC_ENCODER), first.get(columns.DOC_TOK_IDS) is not None, unit=False)


def _encode(path: Path, workers: Workers, corpus: Iterable[Record], part_size: int) -> None:
    """Has all parts encoded that are not there; what was trained without them goes."""
    folder, seen = path / BUILD / SPOOL, SeenDocnos()
    kinds: dict[tuple[Any, ...], str] = {}
    expected: list[str] = []

    def finished(name: str) -> None:
        segment = Segment(folder / name)
        if not len(segment):
            return
        seen.next_segment(segment)
        kinds.setdefault((segment.encoder, segment.tok_ids is not None), name)
        if segment.num_tokens:
            kinds.setdefault((segment.dim,), name)
        _check_kinds(kinds)

    def missing() -> Iterator[tuple[int, list[Record]]]:
        documents = iter(corpus)
        while records := list(islice(documents, part_size)):
            number = len(expected) + 1
            if number > MOST_PARTS:
                raise ValueError(f"part_size is {part_size}; expected parts that are at most {MOST_PARTS} in number.")
            expected.append(f"{number:06d}")
            _note(seen, records)
            if (folder / expected[-1]).exists():
                _check_resumed(Segment(folder / expected[-1]), records)
                finished(expected[-1])
                continue
            build.untrain(path)
            yield number, records

    for number in workers.run("encode", missing()):
        finished(f"{number:06d}")
    stored = [entry.name for entry in spooled(path)]
    if stored != expected:
        raise ValueError(
            f"{len(stored)} parts are stored, but the corpus has {len(expected)}; expected the corpus of the "
            "interrupted call. Give that one, or begin anew with overwrite=True."
        )


def _note(seen: SeenDocnos, records: list[Record]) -> None:
    """Refuses docnos that occurred, before anybody encodes them; what is no docno the worker says better."""
    for docno in _docnos(records):
        if isinstance(docno, str):
            seen.add(docno)


def _check_resumed(segment: Segment, records: list[Record]) -> None:
    if segment.folder.meta.get(SOURCE) != _digest(records):
        raise ValueError(
            f"Part {segment.folder.path.name} was made of other documents than the {len(records)} from "
            f"{_docnos(records)[0]!r} on that the corpus has there; expected the corpus of the interrupted call, in "
            "its order. Give that one, or begin anew with overwrite=True."
        )


def _digest(records: list[Record]) -> str:
    """Tells of which documents a part is made; the pipeline may leave some out, or cut them into passages."""
    return hashlib.sha256(json.dumps(_docnos(records), default=str).encode()).hexdigest()


def _docnos(records: list[Record]) -> list[Any]:
    return [record.get("docno") if isinstance(record, dict) else None for record in records]


def _check_kinds(kinds: dict[tuple[Any, ...], str]) -> None:
    """Raises a ValueError where parts have several encoders, or several widths."""
    for size, what in ((2, "encoder and token ids"), (1, "dimensions")):
        found = {kind: name for kind, name in kinds.items() if len(kind) == size}
        if len(found) > 1:
            (a, first), (b, second) = list(found.items())[:2]
            raise ValueError(
                f"Parts {first} and {second} differ in {what}: {a} and {b}; expected one encoder for all documents. "
                "Begin anew with overwrite=True."
            )


def _compress(
    workers: Workers, path: Path, segments: list[Segment], codec: Codec | None, block: int, _: int, progress: Progress
) -> list[compress.Part]:
    """As `build.compress_all`, by the workers."""
    left = [segment.folder.path.name for segment, _ in build.uncompressed(path, segments)] if codec else []
    finished = workers.run("compress", iter([(name, block) for name in left]))
    for _name in progress(finished, "Compressing", len(segments) - len(left), len(segments)):
        pass
    return build.spooled_parts(path, segments, codec)
