"""The command line: its help, its errors, and the files that it leaves."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from pyterrier_lir.__main__ import main

HEAVY = ["torch", "transformers", "sentence_transformers", "faiss", "matplotlib", "ir_datasets", "pandas"]


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom pyterrier_lir.__main__ import main\n"
        "try: main(['experiment', '--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        f"assert not set({HEAVY}) & set(sys.modules), set({HEAVY}) & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "COLUMNS": "90"}
    )
    assert done.returncode == 0, done.stderr
    for word in ("rerank:num=100", "--dataset", "examples:", "irds:", "encode_ms"):
        assert word in done.stdout


def test_without_a_command_it_shows_how(capsys):
    assert main([]) == 2
    assert "experiment" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--systems", "bm25,nosuch"], ["'nosuch'", "exhaustive", "text_rerank"]),
        (["--systems", "rerank:depth=3"], ["depth=3", "num"]),
        (["--measures", "nDCG@10,nosuch@3"], ["nosuch@3"]),
        (["--baseline", "exhaustive", "--systems", "bm25"], ["baseline", "exhaustive", "bm25"]),
        (["--dataset", "lir:nosuch"], ["nosuch"]),
        (["--fields", "title"], ["title", "text"]),
    ],
)
def test_mistakes_are_named(arguments, words, capsys, tmp_path):
    assert main(["experiment", "--model", "toy", "--out", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words), error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5"])
def test_counts_are_positive(number, capsys):
    with pytest.raises(SystemExit):
        main(["experiment", "--queries", number])
    assert "whole number" in capsys.readouterr().err


def test_an_experiment_from_the_command_line(tmp_path, capfd):
    arguments = ["--model", "toy", "--dim", "16", "--queries", "6", "--seed", "3", "--measures", "RR@10,AP"]
    assert main(["experiment", *arguments, "--systems", "bm25,rerank:num=20", "--out", str(tmp_path)]) == 0
    shown = capfd.readouterr().out
    assert shown.lstrip().startswith("RR@10") and "rerank:num=20" in shown and "report.html" in shown
    assert "[info]" not in shown  # the first stage's own log

    results = pd.read_csv(tmp_path / "results.csv")
    assert results["name"].tolist() == ["bm25", "rerank:num=20"]
    assert list(results)[:5] == ["name", "RR@10", "AP", "encode_ms", "retrieve_ms"]
    assert results["encode_ms"][0] == 0 < results["encode_ms"][1]
    about = json.loads((tmp_path / "environment.json").read_text())
    assert about["dataset"]["queries"] == 6 and about["encoder"]["dim"] == 16
    for word in ("--seed 3", "--queries 6", "--model toy", "--systems bm25,rerank:num=20"):
        assert word in about["settings"]["command"]
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"bm25.res.gz", "rerank-num=20.res.gz"}

    # again: the index is reused, the numbers are the same
    assert main(["experiment", *arguments, "--systems", "bm25,rerank:num=20", "--out", str(tmp_path)]) == 0
    again = pd.read_csv(tmp_path / "results.csv")
    pd.testing.assert_frame_equal(again[["name", "RR@10", "AP"]], results[["name", "RR@10", "AP"]])
    assert json.loads((tmp_path / "environment.json").read_text())["index"]["seconds_to_make"] is None
