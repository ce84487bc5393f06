"""Figures of systems, kept in a folder: a run that breaks off goes on with the system where it stopped.

=================== ===============================================================
``*.json``          what `pyterrier_lir.experiment.measure` found of one system
``*.res.gz``        its ranking, as a TREC run
=================== ===============================================================

Names of files end in a checksum over all that the figures depend on but the machine; ``--fresh`` measures anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyterrier as pt

import pyterrier_lir as lir
from pyterrier_lir.experiment import measure
from pyterrier_lir.experiment.collection import safe_name

if TYPE_CHECKING:
    from kit import Setting


def measured(setting: Setting, name: str, system: pt.Transformer, measures: Sequence[Any]) -> dict[str, Any]:
    """The figures of a system: the kept ones, or measured now.

    Returns:
        A row of `pyterrier_lir.experiment.measure`; and ``cut``, see there; ``load``, that of the machine just before;
        ``ranking``, the file with the ranking.
    """
    path = setting.folder / "figures" / f"{safe_name(name)}-{checksum(setting, name, system, measures)}.json"
    ranking = path.with_suffix(".res.gz")
    if setting.args.fresh or not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        load = os.getloadavg()[0]
        found = measure({name: system}, setting.topics, setting.collection.qrels, measures)
        pt.io.write_results(found.rankings[name], str(ranking), run_name=safe_name(name))
        row = {**found.results.iloc[0].to_dict(), "cut": cut(system), "load": load}
        building = path.with_suffix(".building")
        building.write_text(json.dumps(row, default=float), encoding="utf-8")
        building.replace(path)
    return {**json.loads(path.read_text(encoding="utf-8")), "ranking": str(ranking)}


def checksum(setting: Setting, name: str, system: pt.Transformer, measures: Sequence[Any]) -> str:
    """Changes with all that figures and times depend on, but the machine."""
    collection, index = setting.collection, setting.index
    facts = [
        name, repr(system), [str(m) for m in measures], lir.__version__, repr(setting.encoder),
        setting.encoder.fingerprint, index.store.manifest, collection.checksum,
        collection.topics.to_csv(), collection.qrels.to_csv(),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:12]


def cut(system: pt.Transformer) -> float:
    """How many documents a system gives for a query at most; infinity where nothing says so.

    The last stage that retrieves, or cuts, decides: `bm25(50) >> index.maxsim()` gives 50.
    """
    most = float("inf")
    for stage in system if isinstance(system, pt.Compose) else [system]:
        if isinstance(stage, pt.RankCutoff):
            most = min(most, stage.k)
        else:
            most = getattr(stage, "num_results", most)
    return most


def read(path: str) -> pd.DataFrame:
    """A ranking that was kept."""
    ranking: pd.DataFrame = pt.io.read_results(path)
    return ranking
