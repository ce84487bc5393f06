"""Where an interrupted training left off, and whether the one that goes on is the same.

Beside the checkpoint ``model`` that is to be, the folder ``.model.training`` holds what a kill must not take: the
recipe, and the last states of weights, optimiser and random numbers. It goes when the training is finished.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECIPE = "recipe.json"
COMPLETE = "complete"  # marks a state that was written to its end


def folder(path: Path) -> Path:
    """The folder of the training that will make a checkpoint."""
    return path.with_name(f".{path.name}.training")


def begin(training: Path, recipe: Mapping[str, Any]) -> str | None:
    """Begins or goes on.

    Args:
        training: See `folder`.
        recipe: All that the weights depend on.

    Returns:
        The last complete state, to go on from; None to begin.

    Raises:
        ValueError: If an interrupted training with another recipe is there; it names what differs.
    """
    stated = json.loads(json.dumps(recipe, sort_keys=True))
    found = training / RECIPE
    if not found.exists():
        training.mkdir(parents=True, exist_ok=True)
        unfinished = found.with_suffix(".building")
        unfinished.write_text(json.dumps(stated, indent=2), encoding="utf-8")
        unfinished.replace(found)
        return None
    before = json.loads(found.read_text(encoding="utf-8"))
    differ = [name for name in stated.keys() | before.keys() if stated.get(name) != before.get(name)]
    if differ:
        name = min(differ)
        raise ValueError(
            f"{training} holds an interrupted training with another {', '.join(sorted(differ))}: {name} was "
            f"{before.get(name)!r}, now it is {stated.get(name)!r}. Finish it as it was begun, or remove the folder."
        )
    return last_state(training)


def last_state(training: Path) -> str | None:
    """The newest state that was written to its end."""
    complete = [path.parent for path in training.glob(f"checkpoint-*/{COMPLETE}")]
    newest = max(complete, key=lambda state: int(state.name.rpartition("-")[2]), default=None)
    return None if newest is None else str(newest)
