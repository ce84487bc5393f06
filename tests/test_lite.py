"""LITE: equal to its definition, MaxSim before it is trained, better than MaxSim on what it has learned."""

import numpy as np
import pandas as pd
import pytest
from pyterrier.measures import RR

import pyterrier_lir as lir
from pyterrier_lir.rerank import lite
from pyterrier_lir.train import Contrastive, KLDivergence, MarginMSE, Xtr, fit_lite

pytestmark = pytest.mark.usefixtures("one_thread")

N, M, H = 3, 5, 4


def norm(x, scale, shift):
    return np.stack([(row - row.mean()) / np.sqrt(row.var() + 1e-5) * scale + shift for row in x])


def by_hand(s, w):
    """Steps 1 to 3 of the file, row by row and column by column."""
    r = np.stack([row + np.maximum(row @ w["A1"] + w["a1"], 0) @ w["A2"] + w["a2"] for row in s])
    r = norm(r, w["row_scale"], w["row_shift"])
    c = np.stack([col + np.maximum(col @ w["B1"] + w["b1"], 0) @ w["B2"] + w["b2"] for col in r.T])
    c = norm(c, w["col_scale"], w["col_shift"]).T
    return sum(w["W"][i, j] * c[i, j] for i in range(N) for j in range(M)) + w["b"]


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape) for name, shape in lite.shapes(N, M, H).items()}


def test_the_interaction_is_its_definition(arrays):
    import torch

    from pyterrier_lir.train.modules.lite import Interaction

    s = np.random.default_rng(1).standard_normal((N, M))
    assert lite.interaction(s, arrays) == pytest.approx(by_hand(s, arrays), abs=1e-12)
    network = Interaction(N, M, H).double()
    for name, array in arrays.items():
        network.w[name].data = torch.as_tensor(array)
    both = network(torch.from_numpy(np.stack([s, -s])))
    assert both.tolist() == [pytest.approx(by_hand(s, arrays)), pytest.approx(by_hand(-s, arrays))]


def test_matrices_are_filled_up_or_cut():
    assert lite.padded(np.array([[1.0, 2.0]]), 2, 3).tolist() == [[1, 2, 0], [0, 0, 0]]
    assert lite.padded(np.array([[1.0, 2.0], [3.0, 4.0]]), 1, 1).tolist() == [[1]]


def rows(seed, queries=12, documents=6, dim=8):
    """Documents that MaxSim ranks at random: relevant is the one whose *last* vector is the query's first."""
    rng = np.random.default_rng(seed)
    made = []
    for q in range(queries):
        query = rng.standard_normal((2, dim))
        query /= np.linalg.norm(query, axis=1, keepdims=True)
        for d in range(documents):
            document = rng.standard_normal((5, dim))
            document /= np.linalg.norm(document, axis=1, keepdims=True)
            document[0 if d else -1] = query[0]
            made.append([f"q{q}", "x", f"q{q}d{d}", "y", int(d == 0), float(d == 0), query, document])
    columns = ["qid", "query", "docno", "text", "label", "score", "query_embs", "doc_embs"]
    frame = pd.DataFrame(made, columns=columns)
    return frame.assign(**{c: frame[c].map(lambda m: m.astype(np.float32)) for c in ("query_embs", "doc_embs")})


SMALL = {"query_rows": 4, "doc_rows": 8, "hidden": 8, "negatives": 5, "verbose": False}


def mean_rr(reranker, frame):
    ranking = reranker(frame)
    return RR.calc_aggregate(
        frame[["qid", "docno", "label"]].rename(columns={"qid": "query_id", "docno": "doc_id", "label": "relevance"}),
        ranking[["qid", "docno", "score"]].rename(columns={"qid": "query_id", "docno": "doc_id"}),
    )


def test_an_untrained_model_is_maxsim(tmp_path):
    from pyterrier_lir.train.modules.lite import Interaction

    settings = {"query_rows": 1, "doc_rows": 2, "hidden": 4, "encoder": None}  # smaller than the matrices
    lite.save(tmp_path / "m", settings, Interaction(1, 2, 4).arrays())
    frame = rows(0)
    ours, exact = lir.rerank.Lite(tmp_path / "m")(frame), lir.MaxSim()(frame)
    assert ours["docno"].tolist() == exact["docno"].tolist()
    np.testing.assert_allclose(ours["score"], exact["score"], rtol=1e-6)
    weighted = frame.assign(query_weights=[np.array([0.5, 2], np.float32)] * len(frame))
    np.testing.assert_allclose(
        lir.rerank.Lite(tmp_path / "m")(weighted)["score"], lir.MaxSim()(weighted)["score"], rtol=1e-6
    )


@pytest.mark.parametrize("loss", [Contrastive(0.5), MarginMSE(), KLDivergence(1.0, 0.5)], ids=repr)
def test_it_learns_what_maxsim_misses(loss, tmp_path):
    training, unseen = rows(1, queries=100), rows(2, queries=40)
    model = fit_lite(training, tmp_path / "m", loss=loss, epochs=30, learning_rate=1e-2, **SMALL)
    assert mean_rr(lir.MaxSim(), unseen) < 0.6 < 0.75 < mean_rr(model, unseen)
    alone = model(unseen[unseen["docno"] == "q0d3"])["score"].iloc[0]
    whole = model(unseen)
    assert alone == whole.loc[whole["docno"] == "q0d3", "score"].iloc[0]  # whatever else is in the frame


def test_the_objectives_by_hand():
    import torch

    from pyterrier_lir.train.lite import objective

    scores = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64)
    teacher = torch.tensor([[3.0, 0.0, 1.0]], dtype=torch.float64)
    p, t = np.exp([4, 2, 0]), np.exp([3, 0, 1])
    assert objective(Contrastive(0.5), scores, teacher).item() == pytest.approx(-np.log(p[0] / p.sum()))
    assert objective(MarginMSE(), scores, teacher).item() == pytest.approx(((1 - 3) ** 2 + (2 - 2) ** 2) / 2)
    p, t = p / p.sum(), t / t.sum()
    expected = (t * np.log(t / p)).sum() * 0.5**2
    assert objective(KLDivergence(0.5, 1.0), scores, teacher).item() == pytest.approx(expected)


def test_each_option_changes_the_model_and_the_seed_makes_it(tmp_path):
    frame = rows(3)
    changes = [
        {}, {"query_rows": 3}, {"doc_rows": 4}, {"hidden": 9}, {"negatives": 2}, {"epochs": 1}, {"batch_size": 2},
        {"learning_rate": 1e-2}, {"seed": 1}, {"loss": Contrastive(2)},
    ]  # fmt: skip
    scores = []
    for i, change in enumerate(changes):
        model = fit_lite(frame, tmp_path / str(i), **{**SMALL, "epochs": 2, **change})
        scores.append(tuple(model(frame)["score"]))
    assert len(set(scores)) == len(changes)
    again = fit_lite(frame, tmp_path / "again", **{**SMALL, "epochs": 2})
    assert tuple(again(frame)["score"]) == scores[0]


def test_it_is_trained_with_the_weights_of_the_query(tmp_path):
    frame, weights = rows(3), np.array([4, 0.25], np.float32)
    weighted = frame.assign(query_weights=[weights] * len(frame))
    multiplied = frame.assign(query_embs=[embs * weights[:, None] for embs in frame["query_embs"]])
    scores = [
        fit_lite(data, tmp_path / str(i), **{**SMALL, "epochs": 2})(data)["score"].tolist()
        for i, data in enumerate((weighted, multiplied, frame))
    ]
    assert scores[0] == scores[1] != scores[2]  # the same matrices: 4 and 1/4 multiply exactly


def test_it_knows_its_encoder(tmp_path):
    encoder = lir.ToyEncoder()
    texts = pd.DataFrame(
        [["q", "red apple", "a", "red apples", 1], ["q", "red apple", "b", "green", 0]],
        columns=["qid", "query", "docno", "text", "label"],
    )
    frame = encoder.doc_encoder()(encoder.query_encoder()(texts))
    model = fit_lite(frame, tmp_path / "m", **SMALL)
    assert set(model(frame)["docno"]) == {"a", "b"} and model == lir.rerank.Lite(tmp_path / "m")
    with pytest.raises(ValueError, match="expected the same encoder"):
        model(frame.assign(query_encoder="other", doc_encoder="other"))
    with pytest.raises(ValueError, match="expected the same encoder"):
        fit_lite(frame.assign(query_encoder="other"), tmp_path / "n", **SMALL)
    empty = frame.assign(doc_embs=[frame["doc_embs"][0], np.zeros((0, 32), np.float32)])
    assert model(empty)["score"].iloc[-1] == -np.inf


def test_errors(tmp_path):
    frame = rows(0)
    with pytest.raises(ValueError, match=r"loss is Xtr.*expected one of Contrastive, KLDivergence, MarginMSE"):
        fit_lite(frame, tmp_path / "m", loss=Xtr())
    with pytest.raises(ValueError, match="no doc_embs; expected vectors"):
        fit_lite(frame.drop(columns="doc_embs"), tmp_path / "m")
    with pytest.raises(ValueError, match="hidden is 0"):
        fit_lite(frame, tmp_path / "m", hidden=0)
    with pytest.raises(ValueError, match=r"the loss is nan; expected a finite number. Lower learning_rate"):
        fit_lite(frame, tmp_path / "m", **SMALL, learning_rate=1e30)
    with pytest.raises(ValueError, match="no example has vectors"):
        fit_lite(frame.assign(query_embs=[np.zeros((0, 8), np.float32)] * len(frame)), tmp_path / "m", **SMALL)
    with pytest.raises(FileNotFoundError, match="m is no LITE model"):
        lir.rerank.Lite(tmp_path / "m")(frame)
    model = fit_lite(frame, tmp_path / "m", **{**SMALL, "epochs": 1})
    with pytest.raises(FileExistsError, match="m exists"):
        fit_lite(frame, tmp_path / "m")
    with pytest.raises(ValueError, match="dimensions"):
        model(frame.assign(doc_embs=[np.ones((1, 3), np.float32)] * len(frame)))
    (tmp_path / "m" / "lite.npz").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="m is damaged"):
        lir.rerank.Lite(tmp_path / "m")(frame)
