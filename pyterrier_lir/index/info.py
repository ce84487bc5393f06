"""What an index says of itself: counts and sizes as a dictionary, and as the table that a notebook shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyterrier_lir.facts import megabytes
from pyterrier_lir.index import files, fit
from pyterrier_lir.index.manifest import DERIVED
from pyterrier_lir.index.segment import Segment
from pyterrier_lir.index.spool import spooled
from pyterrier_lir.index.store import Store

COUNTS = ("documents", "deleted", "tokens", "dim", "encoder", "centroids", "nbits", "keep_embs")


class Info(dict[str, Any]):
    """What `pyterrier_lir.LirIndex.info` gives: a dictionary that prints as a table."""

    def __str__(self) -> str:
        lines = [f"{name:<20} {_shown(value):>15}" for name, value in self.items() if name not in ("bytes", "advice")]
        sizes = [f"  {name:<18} {size:>15,}" for name, size in self["bytes"].items()]
        return "\n".join([*lines, *sizes, *self["advice"]])


def _shown(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.3f}" if value < 10 else f"{value:,.1f}"


def info(store: Store) -> Info:
    """Counts, options, fit and sizes of an opened index; see `pyterrier_lir.LirIndex.info`."""
    found, total = store.manifest, sum(store.bytes.values())
    return Info(
        {name: found[name] for name in COUNTS},
        segments=len(store.segments),
        **fit.residuals(store),
        advice=fit.advice(store),
        bytes=store.bytes,
        megabytes=total / 1e6,
        bytes_per_token=total / max(found["tokens"], 1),
        bytes_per_document=total / found["documents"],
    )


def built_facts(store: Store) -> dict[str, object]:
    """For a notebook: what an index holds and how large it is, with what methods derived from it."""
    found = info(store)
    vectors = f"{found['nbits']} bits per dimension, {found['centroids']:,} centroids"
    per_token = f"{found['bytes_per_token']:,.0f} bytes per token"
    derived = sorted(path for path in (store.path / DERIVED).glob("*") if path.is_dir())
    return {
        "documents": f"{found['documents']:,}" + (f" ({found['deleted']:,} deleted)" if found["deleted"] else ""),
        "tokens": f"{found['tokens']:,} of {found['dim']} dimensions",
        "encoder": found["encoder"] or "not recorded",
        "vectors": vectors + (", and as they came (fp16)" if found["keep_embs"] else ""),
        "size": f"{megabytes(sum(found['bytes'].values()))}, {per_token}",
        **{f"derived: {path.name}": megabytes(files.folder_size(path)) for path in derived},
        **({"advice": " ".join(found["advice"])} if found["advice"] else {}),
    }


def unbuilt_facts(path: Path) -> dict[str, object]:
    """For a notebook: the call that builds an index, or goes on with it."""
    waiting = sum(len(Segment(entry)) for entry in spooled(path))
    if not waiting:
        return {"not built": "(encoder >> index).index(corpus)"}
    resume = "(index.unseen() >> encoder >> index.indexer(resume=True)).index(corpus)"
    return {"interrupted": f"{waiting:,} documents are stored", "go on with": resume}
