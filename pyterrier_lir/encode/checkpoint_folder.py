"""What a folder must hold to be a checkpoint: seen before anything is loaded."""

from __future__ import annotations

from pathlib import Path

_CONFIGURATIONS = ("modules.json", "config.json", "adapter_config.json")  # files, one of which a checkpoint has
_TOKENIZERS = ("tokenizer.json", "vocab.*", "*.model", "tekken.json")  # files, one of which holds the vocabulary


def check_folder(source: str) -> None:
    """Refuses a folder of something else, or without a tokenizer: transformers takes an empty one instead.

    Adapters alone may have the tokenizer of what they adapt. What is no folder is a name on the hub.

    Raises:
        ValueError: If something is missing.
    """
    folder = Path(source)
    if not folder.is_dir():
        return
    found = [name for name in _CONFIGURATIONS if (folder / name).is_file()]
    if not found:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise ValueError(
            f"the folder {source!r} holds {there} and no checkpoint; expected one of {', '.join(_CONFIGURATIONS)}. "
            "Give the folder into which the model was saved."
        )
    if found != ["adapter_config.json"] and not any(path for pattern in _TOKENIZERS for path in folder.rglob(pattern)):
        raise ValueError(
            f"the checkpoint {source!r} has no tokenizer; expected a file such as tokenizer.json or vocab.txt. Save it "
            "there with the model: tokenizer.save_pretrained(folder)."
        )
