"""What the tests share: no network, data where they are, little corpora."""

import os
import shutil
import time
import zlib
from pathlib import Path

import pytest

pytest_plugins = [
    "fruit",
    "kernel_arrays",
    "little",
    "tiny_checkpoints",
    "trainable",
    "uses",
    "browser",
]  # files beside this with fixtures

ROOT = Path(__file__).parents[1]
# Real collections, laid out as ir_datasets caches them in `irds_home`; tests that need them are skipped without.
DATA = Path(os.environ.get("LIR_TEST_DATA", ROOT.parent / "shared"))

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("PT_TEST_TRANSFORMER_REPORTS", "0")


def pytest_collection_modifyitems(items):
    """The notebooks first: they take longest, and a worker that begins with them last has nobody to share with."""
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")


@pytest.fixture(scope="session", autouse=True)
def offline_homes(tmp_path_factory):
    """PyTerrier and ir_datasets keep what they write in a temporary home.

    PyTerrier asks the network for its documentation's inventory, unless it has an old copy.
    """
    home = tmp_path_factory.mktemp("pyterrier")
    inventory = home / "documentation" / "objects.inv"
    inventory.parent.mkdir()
    head = "# Sphinx inventory version 2\n# Project: x\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    inventory.write_bytes(head.encode() + zlib.compress(b""))
    os.utime(inventory, (time.time() - 10 * 86400,) * 2)
    os.environ["PYTERRIER_HOME"] = str(home)
    irds = tmp_path_factory.mktemp("irds")
    if (DATA / "irds_home").is_dir():
        shutil.copytree(DATA / "irds_home", irds, dirs_exist_ok=True)
    os.environ["IR_DATASETS_HOME"] = str(irds)


@pytest.fixture(scope="session")
def vaswani(offline_homes):
    """The Vaswani collection, where it is present."""
    if not (DATA / "irds_home" / "vaswani").is_dir():
        pytest.skip(f"needs the Vaswani collection under {DATA / 'irds_home'} (set LIR_TEST_DATA)")
    import pyterrier as pt

    return pt.get_dataset("irds:vaswani")
