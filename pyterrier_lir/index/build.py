"""Building an index: spool -> train -> compress -> merge -> commit. Each stage can be resumed.

While it is built, or added to, an index has a folder ``build/`` with what is finished so far:

    parameters.json     the options, which a resumed build must repeat, and the name that the segment will have
    spool/000001/ ...   documents as they came (see `spool`)
    codec/              the trained codec
    chunks/000001/ ...  the spooled tokens, compressed
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyterrier_lir import arguments
from pyterrier_lir.index import compress, manifest
from pyterrier_lir.index.codec import KINDS, NBITS, Codec
from pyterrier_lir.index.files import sync_directory, write_synced
from pyterrier_lir.index.kmeans import Progress
from pyterrier_lir.index.manifest import CODECS, SEGMENTS, Manifest
from pyterrier_lir.index.scoring import check_device
from pyterrier_lir.index.segment import Segment
from pyterrier_lir.index.spool import BUILD, SPOOL, Record, Spool, spooled
from pyterrier_lir.kernels.checks import is_whole

LOGGER = logging.getLogger(__name__)
PARAMETERS = "parameters.json"
GONE = ".build.gone"  # what ``build/`` is called while it is removed
DISTRIBUTED = "encode_and_build"  # the kind of work that `distributed.building` does
CODEC = "codec"
CHUNKS = "chunks"

# As `compress_all`.
Compressed = Callable[[Path, list[Segment], "Codec | None", int, int, Progress], list[compress.Part]]


@dataclass(frozen=True)
class Parameters:
    """What the bytes of an index depend on, besides its documents.

    Attributes:
        nbits: Bits per dimension of a compressed token: 1, 2, 4 or 8.
        codec: ``"uniform"``, or ``"quantile"`` for ColBERTv2's codebook.
        centroids: Number of centroids; None for the field's rule, ``2 ** floor(log2(16 sqrt(T)))`` for T tokens.
        keep_embs: Whether the fp16 vectors stay, so that exact scores are exact.
        seed: Of sample and clustering.
        device: Where the clustering runs: ``"cpu"``, or a GPU.
    """

    nbits: int = 4
    codec: str = "uniform"
    centroids: int | None = None
    keep_embs: bool = False
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.nbits not in NBITS or not is_whole(self.nbits):
            raise ValueError(f"nbits is {self.nbits!r}; expected 1, 2, 4 or 8 (4 is the default).")
        if self.codec not in KINDS:
            raise ValueError(f'codec is {self.codec!r}; expected "uniform" (the default) or "quantile".')
        if self.centroids is not None and (not is_whole(self.centroids) or self.centroids < 1):
            raise ValueError(f"centroids is {self.centroids!r}; expected at least 1, or None for 16 sqrt(tokens).")
        arguments.check_flags(keep_embs=self.keep_embs)
        arguments.check_seed(self.seed)
        check_device(self.device)


def check_megabytes(**values: object) -> None:
    """Refuses what is no finite number of megabytes above 0."""
    for name, value in values.items():
        expected = f"a number of megabytes > 0, such as {name}=512"
        arguments.check_number(name, value, sys.float_info.min, sys.float_info.max, expected)


def build(
    path: Path,
    documents: Iterable[Record],
    parameters: Parameters,
    *,
    overwrite: bool = False,
    resume: bool = False,
    segment_mb: float = 64,
    memory_mb: float = 512,
    num_threads: int = 1,
    progress: Progress,
) -> None:
    """Writes a stream of documents with embeddings to the index at ``path``.

    The index comes to be, or is replaced, in one step at the end. After a crash nothing is lost but the open segment
    of the spool, or the piece of a later stage that was in work.

    Args:
        path: The index directory.
        documents: Records with ``docno`` and ``doc_embs``; perhaps ``doc_tok_ids``, ``doc_encoder``.
        parameters: What the index depends on.
        overwrite: Whether an index that is there may be replaced.
        resume: Go on with what an interrupted build stored.
        segment_mb: Megabytes of embeddings after which what was spooled is made durable.
        memory_mb: Bounds the memory for blocks of tokens.
        num_threads: Threads; the bytes of the index do not depend on them.
        progress: Wraps what a stage goes through, given its name, how much is done and how much there is.

    Raises:
        ValueError: If the index is built already, if a build was interrupted and is neither resumed nor overwritten,
            or if a document is unusable; what was there before is intact.
        OSError: If the disk is full or cannot be written to. What is finished can be resumed.
    """
    manifest.make_folder(path)
    with manifest.only_writer(path):
        before = manifest.read(path)
        clean_up(path, before)
        if before and not overwrite:
            _refuse_built(path, resume, iter(documents))
            return
        with finishing(path):
            begin(path, {"kind": "build", "parameters": asdict(parameters)}, keep=resume, drop=overwrite)
            spool = Spool(path / BUILD / SPOOL, spooled(path), limit=int(segment_mb * 1e6))
            spool.fill(_untrained(path, progress(documents, "Spooling", spool.documents, None)))
            complete(path, before, parameters, memory_mb=memory_mb, num_threads=num_threads, progress=progress)


def complete(
    path: Path,
    before: Manifest | None,
    parameters: Parameters,
    *,
    memory_mb: float,
    num_threads: int,
    progress: Progress,
    compressed: Compressed | None = None,
) -> None:
    """Makes the index of what was spooled: trains, compresses, merges and commits.

    Args:
        path: The index directory.
        before: The manifest until now.
        parameters: What the index depends on.
        memory_mb: Bounds the memory for blocks of tokens.
        num_threads: Threads; the bytes of the index do not depend on them.
        progress: As for `build`.
        compressed: Compresses spooled segments in another way than `compress_all`, to the same bytes.
    """
    segments = [segment for segment in map(Segment, spooled(path)) if len(segment)]
    if not segments:
        raise ValueError(
            "No documents came; expected at least one. Check the corpus; an iterator can be read only once: make it "
            "anew."
        )
    block = block_size(segments, memory_mb)
    codec = _train(path, segments, parameters, block, num_threads, progress)
    parts = (compressed or compress_all)(path, segments, codec, block, num_threads, progress)
    name = name_segment(path, before)
    segment = merge(path, name, parts, codec, segments, keep_embs=parameters.keep_embs, block=block)
    if codec is not None:
        codec.save(path / CODECS / name)
    manifest.commit(
        path, before, [segment], (name, codec) if codec is not None else None, np.zeros(0, np.int64),
        parameters=asdict(parameters), trained=_trained(segment),
    )  # fmt: skip
    abandon(path)


def _trained(segment: Segment) -> dict[str, int]:
    return {"tokens": segment.num_tokens, "residual_norms": segment.folder.meta["residual_norms"]}


def _refuse_built(path: Path, resume: bool, records: Iterator[Record]) -> None:
    if resume and spooled(path):
        raise ValueError(_interrupted(path))
    # Resuming a build that was finished is fine as long as nothing is left to do.
    if not resume or next(records, None) is not None:
        raise ValueError(
            f"The index at {path} is built already; expected an empty path. Append documents with index.add(records), "
            'replace it with index.indexer(mode="overwrite"), or choose another path.'
        )
    LOGGER.info("%s is complete: nothing to resume", path)


def begin(path: Path, options: dict[str, Any], *, keep: bool, drop: bool) -> None:
    """Decides about what was interrupted, and notes what is done now.

    Args:
        path: The index directory.
        options: The ``kind`` of work, and its ``parameters``.
        keep: Go on with what was interrupted.
        drop: Else, whether it may be dropped.

    Raises:
        ValueError: If something was interrupted that is neither to be kept nor to be dropped, or something else.
    """
    left, found = spooled(path), interrupted(path)
    if left and not keep:
        if not drop:
            raise ValueError(_interrupted(path))
        abandon(path)
    elif left and found and found["kind"] != options["kind"]:
        raise ValueError(_interrupted(path))
    elif left and found:
        before = found["parameters"]
        other = {name: value for name, value in before.items() if options["parameters"][name] != value}
        if other:
            raise ValueError(
                f"The interrupted {found['kind']} at {path} had other options, {other}; expected the same ones. Give "
                "them beside resume=True, or drop what is stored: index.abandon()."
            )
    (path / BUILD / SPOOL).mkdir(parents=True, exist_ok=True)
    write_synced(path / BUILD / PARAMETERS, json.dumps(options))


def _interrupted(path: Path) -> str:
    mode, kind = _mode(path), interrupted(path).get("kind", "build")
    expected, drop = f'mode="{mode}" and resume=True', "index.abandon()"
    if mode == "create":
        expected, drop = 'resume=True or mode="overwrite"', 'index.indexer(mode="overwrite")'
    if mode == DISTRIBUTED:
        expected, drop = "resume=True or overwrite=True", f"{DISTRIBUTED}(corpus, encoder, path, overwrite=True)"
    return (
        f"An interrupted {kind} left {_stored(path)} documents at {path}; expected {expected}. Go on: {_go_on(path)}. "
        f"Or drop them: {drop}."
    )


def _go_on(path: Path) -> str:
    """The call that goes on with interrupted work."""
    mode = _mode(path)
    if mode == DISTRIBUTED:
        overwrite = "overwrite=True, " if manifest.read(path) else ""
        return f"{DISTRIBUTED}(corpus, encoder, path, {overwrite}resume=True)"
    given = "" if mode == "create" else f'mode="{mode}", '
    return f"(index.unseen() >> encoder >> index.indexer({given}resume=True)).index(corpus)"


def _mode(path: Path) -> str:
    """The indexer's mode for the interrupted work: a build where there is an index replaces it."""
    kind: str = interrupted(path).get("kind", "build")
    return kind if kind != "build" else "overwrite" if manifest.read(path) else "create"


def _stored(path: Path) -> int:
    """How many documents interrupted work has stored."""
    return sum(len(Segment(entry)) for entry in spooled(path))


def interrupted(path: Path) -> dict[str, Any]:
    """What the work was that is unfinished: its ``kind`` and ``parameters``, and the ``segment`` if it was named."""
    file = path / BUILD / PARAMETERS
    found = json.loads(file.read_text()) if file.exists() else {}
    if not isinstance(found, dict) or (found and not {"kind", "parameters"} <= found.keys()):
        raise ValueError(f"{file} is damaged; expected what the work was that is unfinished. Remove {file.parent}.")
    return found


def abandon(path: Path) -> None:
    """Drops what an interrupted build or addition stored, at once: no kill leaves a part that could be resumed."""
    shutil.rmtree(path / GONE, ignore_errors=True)  # of a process that was killed
    if (path / BUILD).exists():
        (path / BUILD).rename(path / GONE)
        sync_directory(path)
        shutil.rmtree(path / GONE, ignore_errors=True)


def clean_up(path: Path, found: Manifest | None) -> None:
    """Removes what a writer left that was killed just before or just after it was finished."""
    shutil.rmtree(path / GONE, ignore_errors=True)
    if found is not None:
        if interrupted(path).get("segment") in found["segments"]:
            abandon(path)
        manifest.sweep(path, found)


def name_segment(path: Path, before: Manifest | None) -> str:
    """The name of the segment that the work ends in, noted, so that afterwards it is known to be finished."""
    name = manifest.new_name(path, before)
    write_synced(path / BUILD / PARAMETERS, json.dumps({**interrupted(path), "segment": name}))
    return name


def unname_segment(path: Path) -> None:
    """Takes that name back from work that is still unfinished, as other work ends in a segment that gets it."""
    found = interrupted(path)
    if found.pop("segment", None):
        write_synced(path / BUILD / PARAMETERS, json.dumps(found))


def _untrained(path: Path, documents: Iterable[Record]) -> Iterator[Record]:
    """Passes documents on; before the first one drops what was trained without them."""
    for i, document in enumerate(documents):
        if i == 0:
            untrain(path)
        yield document


def untrain(path: Path) -> None:
    """Drops what an interrupted build trained and compressed: more documents have come since."""
    for folder in (CODEC, CHUNKS):
        shutil.rmtree(path / BUILD / folder, ignore_errors=True)


def block_size(segments: list[Segment], memory_mb: float) -> int:
    """Tokens in a block: some ten arrays of that many float32 vectors are alive at the worst moment."""
    dim = max(max(segment.dim for segment in segments), 1)
    return max(256, int(memory_mb * 1e6 / (40 * dim)))


def _train(
    path: Path, segments: list[Segment], parameters: Parameters, block: int, num_threads: int, progress: Progress
) -> Codec | None:
    if not sum(segment.num_tokens for segment in segments):
        return None  # empty documents only
    folder = path / BUILD / CODEC
    if not folder.exists():
        codec = compress.train(
            segments,
            path / BUILD,
            nbits=parameters.nbits,
            codec=parameters.codec,
            centroids=parameters.centroids,
            seed=parameters.seed,
            block=block,
            num_threads=num_threads,
            device=parameters.device,
            progress=progress,
        )
        codec.save(folder)
    return Codec.load(folder)


def compress_all(
    path: Path, segments: list[Segment], codec: Codec | None, block: int, num_threads: int, progress: Progress
) -> list[compress.Part]:
    """Compresses spooled segments, but not those that were compressed before an interruption."""
    left = uncompressed(path, segments) if codec else []
    for segment, chunk in progress(left, "Compressing", len(segments) - len(left), len(segments)):
        assert codec is not None
        compress.compress(segment, codec, chunk, block=block, num_threads=num_threads)
    return spooled_parts(path, segments, codec)


def uncompressed(path: Path, segments: list[Segment]) -> list[tuple[Segment, Path]]:
    """The spooled segments that are still to be compressed, each with the folder for it."""
    chunks = ((segment, path / BUILD / CHUNKS / segment.folder.path.name) for segment in segments)
    return [(segment, chunk) for segment, chunk in chunks if not chunk.exists()]


def spooled_parts(path: Path, segments: list[Segment], codec: Codec | None) -> list[compress.Part]:
    """What is merged: spooled segments with their compressed tokens, where there are any."""
    chunks = [path / BUILD / CHUNKS / segment.folder.path.name if codec else None for segment in segments]
    return [compress.Part.spooled(segment, chunk, codec) for segment, chunk in zip(segments, chunks, strict=True)]


def merge(
    path: Path,
    name: str,
    parts: list[compress.Part],
    codec: Codec | None,
    like: list[Segment],
    *,
    keep_embs: bool,
    block: int,
) -> Segment:
    """Joins documents into a segment of that name; ``like`` says what kind of documents they are."""
    meta = {
        "dim": max(segment.dim for segment in like),  # a segment of empty documents may have none
        "encoder": like[0].encoder,
        "tok_ids": like[0].tok_ids is not None,
        "keep_embs": keep_embs,
    }
    compress.merge(parts, codec, path / SEGMENTS / name, meta, block=block)
    return Segment(path / SEGMENTS / name)


@contextmanager
def finishing(path: Path) -> Iterator[None]:
    """Leaves no trace of work that stored nothing, and says of a full disk what is safe and how to go on."""
    try:
        yield
    except BaseException as error:
        if not spooled(path):
            abandon(path)  # nothing to resume
        if not isinstance(error, OSError) or error.errno != errno.ENOSPC:
            raise
        raise OSError(
            errno.ENOSPC,
            f"The disk is full; {_stored(path)} documents are stored safely. Free some space and go on: {_go_on(path)}",
            str(path),
        ) from error
