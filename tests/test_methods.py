"""The methods of an index that make something: one line each, with the signature of what they make."""

import inspect

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_lir as lir
from pyterrier_lir import arguments, frames
from pyterrier_lir.index.indexer import LirIndexer
from pyterrier_lir.index.makes import makes
from pyterrier_lir.index.unseen import Unseen
from pyterrier_lir.retrieve.plaid import Plaid
from pyterrier_lir.retrieve.retriever import Found, Retriever

EMPTY = inspect.Parameter.empty
METHODS = {
    name: inspect.signature(method).return_annotation
    for name, method in vars(lir.LirIndex).items()
    if inspect.isfunction(method) and inspect.isclass(inspect.signature(method).return_annotation)
}


@pytest.fixture(scope="module")
def index():
    return lir.LirIndex.example()


def test_all_of_them_are_looked_at():
    assert len(METHODS) == 19
    assert METHODS["plaid"] is Plaid
    assert METHODS["unseen"] is Unseen


@pytest.mark.parametrize(("name", "made"), METHODS.items())
def test_a_method_has_the_signature_of_its_class(name, made, index):
    self_, *of_the_method = inspect.signature(getattr(lir.LirIndex, name)).parameters.values()
    index_, *of_the_class = inspect.signature(made).parameters.values()
    assert (self_.name, index_.name) == ("self", "index_")
    assert of_the_method == of_the_class
    assert list(inspect.signature(getattr(index, name)).parameters.values()) == of_the_class


@pytest.mark.parametrize(("name", "made"), METHODS.items())
def test_a_method_makes_its_class_with_the_index_first(name, made, index):
    graph = index.corpus_graph(k=2)
    needed = {"ladr": {"graph": graph}, "early_exit_maxsim": {"beta": 2}, "query_pruning": {"keep": 1}}.get(name, {})
    thing = getattr(index, name)(**needed)
    assert type(thing) is made
    assert thing.index_ is index
    assert repr(thing) == repr(made(index, **needed))


@pytest.mark.parametrize(("name", "made"), METHODS.items())
def test_help_says_what_it_does_and_where_options_are_explained(name, made):
    method = getattr(lir.LirIndex, name)
    assert method.__name__ == name
    assert method.__qualname__ == f"LirIndex.{name}"
    assert method.__doc__.startswith(inspect.cleandoc(made.__doc__).split("\n\n")[0])
    assert method.__doc__.endswith(f"The options: `{made.__module__}.{made.__name__}`.")
    assert ("Expected columns" in method.__doc__) == ("Expected columns" in made.__doc__)


def test_changes_show_the_options_of_the_indexer():
    known = inspect.signature(LirIndexer).parameters
    names = ["resume", "segment_mb", "memory_mb", "num_threads", "verbose"]
    for change in (lir.LirIndex.add, lir.LirIndex.update):
        self_, iter_, *rest = inspect.signature(change).parameters.values()
        assert (self_.name, iter_.name) == ("self", "iter")
        assert rest == [known[name] for name in names]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda index: index.plaid(nprobes=3),
            r"LirIndex.plaid\(\): .*'nprobes'; expected named options: num_results,",
        ),
        (lambda index: index.plaid(nprobes=3), r"Did you mean nprobe=\?"),
        (lambda index: index.add([], memory=3), r"LirIndex.add\(\): .*'memory'.*Did you mean memory_mb=\?"),
    ],
)
def test_a_wrong_option_is_named(call, words, index):
    with pytest.raises(TypeError, match=words):
        call(index)


REDUCERS = {"TokenPooling": {"factor": 2}, "TokenPruning": {"method": "first", "keep": 0.5}, "Truncate": {"dim": 4}}


def without_none(made):
    """The options that None cannot stand for: None is not said to be a value, and it is not a mere "no"."""
    known = inspect.signature(made).parameters.values()
    return [p.name for p in known if "None" not in str(p.annotation) and p.annotation != "bool" and p.name != "index_"]


@pytest.mark.parametrize(("name", "made"), [*METHODS.items(), *((name, getattr(lir, name)) for name in REDUCERS)])
def test_none_is_refused_where_it_stands_for_nothing(name, made, index):
    """Rows ``[:None]`` are all rows: what is not refused by name may change results in silence."""
    graph = index.corpus_graph(k=2)
    needed = {"ladr": {"graph": graph}, "early_exit_maxsim": {"beta": 2}, "query_pruning": {"keep": 1}, **REDUCERS}
    first = () if name in REDUCERS else (index,)
    for option in without_none(made):
        with pytest.raises(ValueError, match=f"{option} is (a )?None"):
            made(*first, **{**needed.get(name, {}), option: None})


SWEPT = {"plaid": {"num_results": 3, "nprobe": 2}, "muvera": {"num_results": 3, "reps": 2, "k_sim": 2, "seed": 1}}


@pytest.mark.parametrize(("name", "options"), SWEPT.items())
def test_numbers_of_a_sweep_over_an_array_are_numbers(name, options, index):
    swept = getattr(index, name)(**{name: np.int8(value) for name, value in options.items()})
    plain = getattr(index, name)(**options)
    assert swept == plain
    assert repr(swept) == repr(plain)
    query = pd.DataFrame({"qid": ["1"], "query_embs": [next(iter(index.get_corpus_iter()))["doc_embs"]]})
    columns = ["docno", "score", "rank"]
    pd.testing.assert_frame_equal(swept(query)[columns], plain(query)[columns])


@pytest.mark.parametrize("options", [{"nbits": np.int64(2)}, {"centroids": np.int64(2), "seed": np.int64(3)}])
def test_numbers_of_numpy_build_an_index(options, tmp_path):
    documents = [{"docno": f"d{i}", "doc_embs": np.eye(4, 8, i, dtype=np.float32)} for i in range(3)]
    built = lir.LirIndex(tmp_path / "i").indexer(verbose=False, num_threads=1, **options).index(documents)
    plain = lir.LirIndex(tmp_path / "j").indexer(
        verbose=False, num_threads=1, **{name: int(v) for name, v in options.items()}
    )
    assert str(built.info()) == str(plain.index(documents).info())


# --- a method of one's own ------------------------------------------------------------------------------------


class Mean(Retriever):
    """Retrieves by the product of the mean query row with a document's mean vector.

    Expected columns: ``qid``, ``query_embs``. Output: the columns of the query, and ``docno``, ``score``, ``rank``.
    """

    LABEL = "Mean"
    STATS = ("mean_docs",)
    SCORED = "mean_docs"

    def __init__(self, index_, *, num_results=1000, sign=1, docnos=None, num_threads=None, stats=False):
        arguments.check_counts(num_results=num_results)
        self.index_ = index_
        self.num_results = num_results
        self.sign = sign
        self.docnos = frames.distinct_docnos(docnos)
        self.num_threads = num_threads
        self.stats = stats

    def retrieve(self, store, query, wanted, num_threads):
        docids = store.live_docids if wanted is None else wanted.of(0, len(store))
        means = np.stack([store.document(int(docid))[0].mean(axis=0) for docid in docids])
        scores = (self.sign * means @ query.embs.mean(axis=0)).astype(np.float32)
        best = np.lexsort((docids, -scores))[: self.num_results]
        return Found(docids[best], scores[best], [len(docids)])


class Extended(lir.LirIndex):
    """An index with one method more."""

    mean = makes(Mean)


def test_a_new_method_is_one_class_and_one_line(index):
    queries = lir.ToyEncoder()(pd.DataFrame({"qid": ["1", "2"], "query": ["bread dough", "a day"]}))
    mine = Extended(index.path).mean(num_results=3, stats=True)

    documents = {record["docno"]: record["doc_embs"].mean(axis=0) for record in index.get_corpus_iter()}
    for qid, found in mine(queries).groupby("qid"):
        row = queries[queries["qid"] == qid].iloc[0]
        expected = {docno: row["query_embs"].mean(axis=0) @ mean for docno, mean in documents.items()}
        assert list(found["docno"]) == sorted(expected, key=expected.get, reverse=True)[:3]
        np.testing.assert_allclose(found["score"], sorted(expected.values(), reverse=True)[:3], rtol=1e-5)
        assert list(found["mean_docs"]) == [5, 5, 5]


def test_it_is_a_transformer_like_all_others(index):
    extended = Extended(index.path)
    queries = lir.ToyEncoder()(pd.DataFrame({"qid": ["1"], "query": ["bread dough"]}))
    mean = extended.mean()
    assert list((mean >> index.maxsim())(queries)["docno"]) == list(index.exhaustive()(queries)["docno"])
    assert list((mean % 2)(queries)["docno"]) == list(mean(queries)["docno"])[:2]
    assert set(extended.mean(docnos=["apple", "earth"])(queries)["docno"]) == {"apple", "earth"}
    assert list(extended.mean(sign=-1)(queries)["docno"]) == list(mean(queries)["docno"])[::-1]
    assert mean == extended.mean() != extended.mean(sign=-1)
    assert mean.work(queries) == {"scored": 5, "mean_docs": 5}
    assert {"docno", "score", "rank"} < set(pt.inspect.transformer_outputs(mean, ["qid", "query_embs"]))
