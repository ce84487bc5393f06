"""Each loss equals its definition, computed again in NumPy."""

import numpy as np
import pytest
from pyterrier.measures import RR
from trainable import QRELS, TOPICS

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
)  # fmt: skip

pytest.importorskip("accelerate", reason="needs the extra [train]")
pytest.importorskip("datasets", reason="needs the extra [train]")


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
