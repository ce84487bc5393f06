"""What a first-time user gets wrong: the last line of the error names the value, what was expected, and the call.

One row a mistake. The last line is what a notebook shows at the bottom of a traceback.
"""

import traceback
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_lir as lir

Invalid = pt.validate.InputValidationError
BREAD = pd.DataFrame([["1", "bread dough"]], columns=["qid", "query"])
RANKING = BREAD.merge(pd.DataFrame({"docno": ["bread", "dough"], "score": [1.0, 0.5], "rank": [0, 1]}), how="cross")
QRELS = pd.DataFrame({"qid": ["1"], "docno": ["bread"], "label": [1]})
CORPUS = [{"docno": "d1", "text": "red apples"}, {"docno": "d2", "text": "green pears"}]
first_stage = pt.Transformer.from_df(RANKING)


@pytest.fixture(scope="module")
def indexes(tmp_path_factory):
    """An index, and one without token ids; no mistake changes them."""
    rng = np.random.default_rng(0)
    vectors = [{"docno": f"d{i}", "doc_embs": rng.standard_normal((3, 32))} for i in range(5)]
    bare = new(tmp_path_factory.mktemp("indexes"), "vectors")
    return lir.LirIndex.example(), bare.indexer(verbose=False).index(vectors)


@pytest.fixture
def w(indexes, tmp_path):
    """The user's world: an encoder, indexes, and where to put new ones."""
    encoder = lir.ToyEncoder()
    (tmp_path / "file").write_text("")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "data.csv").write_text("")
    return SimpleNamespace(
        encoder=encoder,
        q=encoder.query_encoder(),
        index=indexes[0],
        no_ids=indexes[1],
        other=lir.ToyEncoder(seed=1),
        path=tmp_path,
        new=new(tmp_path),
        build=lambda corpus, **options: (encoder >> new(tmp_path).indexer(verbose=False, **options)).index(corpus),
    )


def new(path, name="new"):
    return lir.LirIndex(path / f"{name}.lir")


def used_up(corpus):
    iterator = iter(corpus)
    list(iterator)
    return iterator


class Mistake(NamedTuple):
    what: str  # the user does
    do: object
    error: type
    value: str  # the last line names this value,
    expected: str  # says that this was expected,
    call: str  # and gives this call


# fmt: off
MISTAKES = [
    # --- indexing
    Mistake("index without an encoder", lambda w: w.new.index(CORPUS),
            ValueError, "['docno', 'text']", "expected docno and doc_embs", "(encoder >> index).index(corpus)"),
    Mistake("put the index first", lambda w: w.index >> w.encoder,
            TypeError, "stands before ToyEncoder()", "expected it behind", "(encoder >> index).index(corpus)"),
    Mistake("put the reducer before the encoder", lambda w: (lir.TokenPooling(2) >> w.encoder >> w.new).index(CORPUS),
            Invalid, "['docno', 'text']", "missing_columns=['doc_embs']", "encoder.doc_encoder()"),
    Mistake("a text column of another name", lambda w: w.build([{"docno": "d1", "body": "red"}]),
            Invalid, "['docno', 'body']", "missing_columns=['text']", "text_field='body'"),
    Mistake("a text_field that is not there", lambda w: lir.ToyEncoder(text_field="body")(pd.DataFrame(CORPUS)),
            Invalid, "['docno', 'text']", "missing_columns=['body']", "text_field='text'"),
    Mistake("id in place of docno", lambda w: w.build([{"id": "d1", "text": "red"}]),
            Invalid, "['id', 'text']", "missing_columns=['docno']", '{"docno": str(record["id"])'),
    Mistake("a number for a docno", lambda w: w.build([{"docno": 1, "text": "red"}]),
            ValueError, "docno 1 is a int", "expected a non-empty string", "str(docno)"),
    Mistake("a docno twice", lambda w: w.build(CORPUS + CORPUS),
            ValueError, "'d1' occurs twice", "expected every document once", "index.unseen()"),
    Mistake("strings in place of records", lambda w: w.build(["red apples", "green pears"]),
            Invalid, "DataFrame(columns=[0])", "no records", 'Index [{"docno": "d1", "text": "..."}]'),
    Mistake("strings, without an encoder", lambda w: w.new.index(["red apples"]),
            ValueError, "'red apples', a str", "expected a record", "(encoder >> index).index(corpus)"),
    Mistake("a frame for a corpus", lambda w: w.build(pd.DataFrame(CORPUS)),
            Invalid, "DataFrame(columns=[0])", "no records", 'frame.to_dict("records")'),
    Mistake("one record in place of a list", lambda w: w.build(CORPUS[0]),
            Invalid, "DataFrame(columns=[0])", "no records", 'Index [{"docno": "d1", "text": "..."}]'),
    Mistake("the path of a corpus", lambda w: w.build("corpus.jsonl"),
            Invalid, "DataFrame(columns=[0])", "no records", "dataset.get_corpus_iter()"),
    Mistake("the path of a corpus, without an encoder", lambda w: w.new.index("corpus.jsonl"),
            ValueError, "'corpus.jsonl'", "expected records", "dataset.get_corpus_iter()"),
    Mistake("the dataset in place of its corpus", lambda w: w.build(pt.get_dataset("irds:vaswani")),
            ValueError, "'IRDSDataset' object", "expected records", "dataset.get_corpus_iter()"),
    Mistake("an empty corpus", lambda w: w.build([]),
            ValueError, "No documents", "expected at least one", "Check the corpus"),
    Mistake("an iterator that is used up", lambda w: w.build(used_up(CORPUS)),
            ValueError, "No documents", "expected at least one", "make it anew"),
    Mistake("a text that is a list", lambda w: w.build([{"docno": "d1", "text": ["red", "apples"]}]),
            ValueError, "['red', 'apples']", "expected a string", '" ".join(parts)'),
    Mistake("index twice", lambda w: (w.encoder >> w.index).index(CORPUS),
            ValueError, "example.lir", "expected an empty path", 'index.indexer(mode="overwrite")'),
    Mistake("add a document that is there", lambda w: w.index.add(w.index.get_corpus_iter(), verbose=False),
            ValueError, "'apple'", "expected every document once", "index.update(records)"),
    Mistake("add to an index that is not built", lambda w: w.new.add(w.index.get_corpus_iter(), verbose=False),
            FileNotFoundError, "new.lir", "expected one", "(encoder >> index).index(corpus)"),
    Mistake("add documents of another encoder",
            lambda w: (w.other >> w.index.indexer(mode="append", verbose=False)).index(CORPUS),
            ValueError, "'toy-32-1'", "expected 'toy-32-0'", "with one encoder"),
    Mistake("delete a docno, not a list", lambda w: w.index.delete("bread"),
            ValueError, "'bread'", "expected a list", "index.delete(['bread'])"),
    Mistake("options to index()", lambda w: w.new.index(CORPUS, nbits=2),
            ValueError, "nbits", "expected no options", "index.indexer(...)"),
    Mistake("vectors with NaN", lambda w: w.new.index([{"docno": "d1", "doc_embs": np.full((2, 4), np.nan)}]),
            ValueError, "NaN", "expected finite numbers", "Encode it again"),
    Mistake("one vector in place of a matrix", lambda w: w.new.index([{"docno": "d1", "doc_embs": np.ones(4)}]),
            ValueError, "(4,)", "expected a matrix", "vec[None, :]"),
    Mistake("vectors that are text", lambda w: w.new.index([{"docno": "d1", "doc_embs": "0.1 0.2"}]),
            ValueError, "'0.1 0.2'", "expected a matrix of numbers (tokens, dim)", "Give a NumPy array"),
    Mistake("rows of unequal length", lambda w: w.new.index([{"docno": "d1", "doc_embs": [[1, 2], [3]]}]),
            ValueError, "[[1, 2], [3]]", "expected a matrix of numbers (tokens, dim)", "lists of equal length"),
    Mistake("complex vectors", lambda w: w.new.index([{"docno": "d1", "doc_embs": np.ones((2, 4), complex)}]),
            ValueError, "complex numbers", "expected a matrix of numbers (tokens, dim)", "Give a NumPy array"),
    Mistake("vectors without dimensions", lambda w: w.new.index([{"docno": "d1", "doc_embs": np.ones((2, 0))}]),
            ValueError, "2 rows without dimensions", "expected a matrix (tokens, dim)", "'d1'"),
    Mistake("a number for a text_field", lambda w: lir.ToyEncoder(text_field=3)(pd.DataFrame(CORPUS)),
            ValueError, "text_field is 3", "expected a column, or several", "text_field=('title', 'text')"),
    Mistake("no text_field", lambda w: lir.ToyEncoder(text_field=[])(pd.DataFrame(CORPUS)),
            ValueError, "text_field is []", "expected a column, or several", "text_field=('title', 'text')"),
    Mistake("a folder that is no checkpoint", lambda w: lir.LateInteractionEncoder(str(w.path / "foreign")).load(),
            ValueError, "holds data.csv and no checkpoint", "expected one of modules.json", "Give the folder"),
    Mistake("late chunks of a model's name", lambda w: lir.LateChunking("minilm"),
            ValueError, "encoder is 'minilm'", "expected an encoder", "lir.LateInteractionEncoder(...)"),
    Mistake("BM25 in a folder of something else", lambda w: lir.experiment.bm25(CORPUS, w.path / "foreign"),
            ValueError, "foreign holds something else", "expected one, or a new path", "Give another one"),
    Mistake("a dataset that is unknown", lambda w: lir.experiment.open_collection("scifact"),
            ValueError, "'scifact' is unknown", "expected a name of PyTerrier's", "irds:beir/scifact/test"),
    Mistake("an index without a path", lambda w: lir.LirIndex(None),
            ValueError, "None", "expected the folder", 'LirIndex("my.lir")'),
    Mistake("a path that is a file", lambda w: (w.encoder >> lir.LirIndex(w.path / "file")).index(CORPUS),
            FileExistsError, "file", "expected a folder", 'LirIndex("my.lir")'),
    Mistake("a path that cannot be written", lambda w: (w.encoder >> lir.LirIndex("/proc/my.lir")).index(CORPUS),
            OSError, "/proc/my.lir", "expected a folder", 'LirIndex("my.lir")'),
    # --- searching
    Mistake("search an index that is not built", lambda w: (w.q >> w.new.plaid())(BREAD),
            FileNotFoundError, "new.lir", "expected one", "(encoder >> index).index(corpus)"),
    Mistake("search a folder of something else", lambda w: (w.q >> lir.LirIndex(w.path / "foreign").plaid())(BREAD),
            FileNotFoundError, "a folder of something else", "expected one", "check the path"),
    Mistake("call the index", lambda w: (w.q >> w.index)(BREAD),
            TypeError, "called like a retriever", "expected one of its methods", "index.plaid()"),
    Mistake("ask the index", lambda w: w.index.search("bread"),
            TypeError, "called like a retriever", "expected one of its methods", "index.plaid()"),
    Mistake("search without encoding", lambda w: w.index.plaid()(BREAD),
            Invalid, "['qid', 'query']", "missing_columns=['query_embs']", "encoder.query_encoder()"),
    Mistake("ask a retriever that lacks its encoder", lambda w: w.index.plaid().search("bread"),
            Invalid, "['qid', 'query']", "missing_columns=['query_embs']", "encoder.query_encoder()"),
    Mistake("put the encoder behind the retriever", lambda w: (w.index.plaid() >> w.q)(BREAD),
            Invalid, "['qid', 'query']", "missing_columns=['query_embs']", "encoder.query_encoder()"),
    Mistake("an experiment without an encoder", lambda w: pt.Experiment([w.index.plaid()], BREAD, QRELS, ["map"]),
            Invalid, "['qid', 'query']", "missing_columns=['query_embs']", "encoder.query_encoder()"),
    Mistake("a string in place of a frame", lambda w: (w.q >> w.index.plaid())("bread"),
            Invalid, "DataFrame(columns=[0])", "no records", 'pipeline.search("one query")'),
    Mistake("topics whose query is called title", lambda w: w.q(BREAD.rename(columns={"query": "title"})),
            Invalid, "['qid', 'title']", "missing_columns=['query']", 'topics.rename(columns={"title": "query"})'),
    Mistake("topics without qid", lambda w: w.q(BREAD[["query"]]),
            Invalid, "['query']", "missing_columns=['qid']", "pt.new.queries("),
    Mistake("qrels in place of topics", lambda w: w.q(QRELS),
            Invalid, "['qid', 'docno', 'label']", "missing_columns=['query']", "dataset.get_topics()"),
    Mistake("a frame with neither queries nor documents", lambda w: w.encoder(pd.DataFrame({"question": ["bread?"]})),
            Invalid, "['question']", "missing_columns=['qid', 'query']", "Queries have qid and query"),
    Mistake("another encoder", lambda w: (w.other >> w.index.plaid())(BREAD),
            ValueError, "'toy-32-1'", "expected the same encoder", "with the encoder that made the documents"),
    Mistake("vectors of another width", lambda w: w.index.plaid()(BREAD.assign(query_embs=[np.ones((2, 8))])),
            ValueError, "8 dimensions", "expected 32", "with the same encoder"),
    Mistake("cut the queries, not the documents", lambda w: (w.q >> lir.Truncate(16) >> w.index.plaid())(BREAD),
            ValueError, "'toy-32-0[:16]'", "expected the same encoder", "with the encoder that made the documents"),
    Mistake("retrieve twice", lambda w: (first_stage >> w.q >> w.index.plaid())(BREAD),
            Invalid, "'docno'", "extra_columns=['docno']", "index.maxsim()"),
    Mistake("a query text that is a list", lambda w: w.q(BREAD.assign(query=[["bread", "dough"]])),
            ValueError, "['bread', 'dough']", "expected a string", '" ".join(parts)'),
    Mistake("docnos that are not there", lambda w: (w.q >> w.index.plaid(docnos=["x", "y"]))(BREAD),
            ValueError, "'x', 'y'", "expected docnos such as 'apple'", "Index those documents"),
    Mistake("one docno in place of a list", lambda w: w.index.plaid(docnos="bread"),
            ValueError, "'bread'", "expected a list", "docnos=['bread']"),
    Mistake("a ranking in place of docnos", lambda w: w.index.plaid(docnos=RANKING),
            ValueError, "a DataFrame", "expected a list", 'docnos=ranking["docno"]'),
    # --- options
    Mistake("misspell an option", lambda w: w.index.plaid(n_probe=4),
            TypeError, "'n_probe'", "expected named options: num_results, nprobe", "Did you mean nprobe=?"),
    Mistake("an option of another library", lambda w: w.index.plaid(k=10),
            TypeError, "'k'", "expected named options: num_results, nprobe", "LirIndex.plaid()"),
    Mistake("an option without its name", lambda w: w.index.plaid(10),
            TypeError, "too many positional arguments", "expected named options: num_results", "LirIndex.plaid()"),
    Mistake("misspell an encoder's option", lambda w: lir.ToyEncoder(dims=8),
            TypeError, "'dims'", "expected named options: dim", "Did you mean dim=?"),
    Mistake("no results", lambda w: w.index.exhaustive(num_results=0),
            ValueError, "num_results is 0", "expected at least 1", "as a whole number"),
    Mistake("None for no limit", lambda w: w.index.plaid(num_results=None),
            ValueError, "num_results is None", "expected at least 1", "as a whole number"),
    Mistake("yes for a number", lambda w: w.index.warp(num_results=True),
            ValueError, "num_results is True", "expected at least 1", "as a whole number"),
    Mistake("dimensions as a string", lambda w: lir.ToyEncoder(dim="8"),
            ValueError, "dim is '8'", "expected at least 1", "as a whole number"),
    Mistake("a batch size as a string", lambda w: lir.LateInteractionEncoder("minilm", batch_size="8"),
            ValueError, "batch_size is '8'", "expected at least 1", "as a whole number"),
    Mistake("a seed as a string", lambda w: lir.ToyEncoder(seed="8"),
            ValueError, "seed is '8'", "expected a whole number", "from 0 to 2**32 - 1"),
    Mistake("weights that are text", lambda w: w.index.plaid()(w.q(BREAD).assign(query_weights="high")),
            ValueError, "query_weights holds 'high'", "expected one number per row", "Give a NumPy array"),
    Mistake("fewer cells than none", lambda w: w.index.plaid(nprobe=-1),
            ValueError, "nprobe is -1", "expected at least 1", "as a whole number"),
    Mistake("a number as a string", lambda w: w.index.plaid(nprobe="4"),
            ValueError, "nprobe is '4'", "expected at least 1", "as a whole number"),
    Mistake("threads as a string", lambda w: w.index.plaid(num_threads="4"),
            ValueError, "num_threads is '4'", "expected at least 1", "None for all cores"),
    Mistake("no threads", lambda w: w.index.plaid(num_threads=0),
            ValueError, "num_threads is 0", "expected at least 1", "None for all cores"),
    Mistake("a preset that is none", lambda w: w.index.plaid(preset="fast"),
            ValueError, "'fast'", "expected one of 'measured', 'paper'", "preset"),
    Mistake("3 bits", lambda w: w.index.indexer(nbits=3),
            ValueError, "nbits is 3", "expected 1, 2, 4 or 8", "4 is the default"),
    Mistake("memory as a string", lambda w: w.index.indexer(memory_mb="2gb"),
            ValueError, "'2gb'", "expected a number of megabytes", "memory_mb=512"),
    Mistake("a mode that is none", lambda w: w.index.indexer(mode="replace"),
            ValueError, "'replace'", 'expected "create"', '"overwrite"'),
    Mistake("no seed", lambda w: w.index.indexer(seed=None),
            ValueError, "seed is None", "expected a whole number", "from 0 to 2**32 - 1"),
    Mistake("a name that is not public", lambda w: lir.Plaid,
            AttributeError, "'Plaid'", "expected one of LateChunking, LateInteractionEncoder", "index.plaid()"),
    # --- re-ranking
    Mistake("re-rank without encoding", lambda w: (first_stage >> w.index.maxsim())(BREAD),
            Invalid, "'docno'", "missing_columns=['query_embs']", "encoder.query_encoder()"),
    Mistake("encoder in place of encoder.query_encoder()",
            lambda w: (first_stage >> w.encoder >> w.index.maxsim())(BREAD),
            Invalid, "'docno'", "missing_columns=['text']", "encoder.query_encoder()"),
    Mistake("re-rank nothing", lambda w: (w.q >> w.index.maxsim())(BREAD),
            Invalid, "['qid', 'query', ", "missing_columns=['docno']", "index.plaid()"),
    Mistake("re-rank by a text that is not loaded", lambda w: (first_stage >> w.encoder.text_scorer())(BREAD),
            Invalid, "'docno'", "missing_columns=['text']", "dataset.text_loader()"),
    Mistake("re-rank documents of another collection", lambda w: (w.q >> w.index.maxsim())(RANKING.assign(docno="x")),
            ValueError, "'x'", "expected docnos such as 'apple'", 'missing="drop"'),
    Mistake("MaxSim of columns that are not there", lambda w: (w.q >> lir.MaxSim())(RANKING),
            Invalid, "'docno'", "missing_columns=['doc_embs']", "index.embs_loader()"),
    Mistake("LADR with a number", lambda w: w.index.ladr(16),
            ValueError, "graph is 16", "expected a corpus graph", "index.ladr(index.corpus_graph(k=16))"),
    # --- encoders
    Mistake("misspell a model", lambda w: lir.LateInteractionEncoder("colbert-ir/colbertv2").load(),
            OSError, "'colbert-ir/colbertv2'", "expected a folder, or a name", 'LateInteractionEncoder("minilm")'),
    Mistake("a folder that is not there", lambda w: lir.LateInteractionEncoder("./models/colbert").load(),
            OSError, "'./models/colbert'", "expected a folder", "Check the spelling"),
    Mistake("no model", lambda w: lir.LateInteractionEncoder(None),
            ValueError, "None", "expected the name of a checkpoint", "or its folder"),
    Mistake("a device that is none", lambda w: lir.LateInteractionEncoder("minilm", device="gpu").load(),
            ValueError, "'gpu'", 'expected "cpu", "cuda"', "Leave device out"),
    Mistake("a dtype that is none", lambda w: lir.LateInteractionEncoder("minilm", dtype="fp16"),
            ValueError, "'fp16'", "expected one of 'auto'", "'float16'"),
    Mistake("one text in place of a list", lambda w: w.encoder.encode_queries("bread"),
            ValueError, "'bread'", "expected a list of texts", "['bread']"),
    # --- reductions, MUVERA, feedback, explanations, plots
    Mistake("pool by nothing", lambda w: lir.TokenPooling(0),
            ValueError, "factor is 0", "expected at least 1", "2 leaves half"),
    Mistake("prune by percent", lambda w: lir.TokenPruning("first", keep=50),
            ValueError, "keep is 50", "expected a share", "0 < keep <= 1"),
    Mistake("prune by idf without statistics", lambda w: lir.TokenPruning("idf", keep=0.5),
            ValueError, "stats is missing", "expected for this method", "stats=index.token_stats()"),
    Mistake("cut to more dimensions than there are", lambda w: (w.q >> lir.Truncate(64))(BREAD),
            ValueError, "32 dimensions", "expected at least 64", "Truncate(32)"),
    Mistake("a search structure that is none", lambda w: w.index.muvera(ann="faiss"),
            ValueError, "'faiss'", "expected one of 'flat', 'hnsw'", "ann"),
    Mistake("too many hyperplanes", lambda w: w.index.muvera(k_sim=40),
            ValueError, "k_sim is 40", "expected at most 20", "a million cells"),
    Mistake("MUVERA without vectors", lambda w: lir.Muvera()(BREAD),
            Invalid, "['qid', 'query']", "missing_columns=['query_embs']", "encoder.query_encoder()"),
    Mistake("feedback without documents", lambda w: (w.q >> w.index.colbert_prf())(BREAD),
            Invalid, "'query_embs'", "missing_columns=['docno', 'rank']", "index.plaid()"),
    Mistake("feedback on an index without token ids",
            lambda w: (w.q >> w.no_ids.plaid() >> w.no_ids.colbert_prf())(BREAD),
            ValueError, "vectors.lir has no token ids", "expected them for ColBERT-PRF", "(encoder >> index)"),
    Mistake("explain an index without token ids", lambda w: (w.q >> w.no_ids.plaid() >> w.no_ids.explain())(BREAD),
            ValueError, "vectors.lir has no token ids", "expected them for explanations", "(encoder >> index)"),
    Mistake("explain with another encoder", lambda w: (w.q >> w.index.plaid() >> w.index.explain(w.other))(BREAD),
            ValueError, "'toy-32-1'", "expected the same encoder", "Explain with the encoder that made the documents"),
    Mistake("explain with the name of a model", lambda w: w.index.explain("minilm"),
            ValueError, "'minilm'", "expected the encoder that made the index", "index.explain(encoder)"),
    Mistake("a heat map of a whole frame", lambda w: lir.heatmap(RANKING),
            ValueError, "2 rows", "expected one of them", "explained.iloc[0]"),
    Mistake("a heat map of what was not explained", lambda w: lir.heatmap(RANKING.iloc[0]),
            ValueError, "'docno'", "expected an explained one", "index.explain(encoder)"),
    Mistake("plot a ranking", lambda w: lir.tradeoff_plot(RANKING),
            ValueError, "'retrieve_ms'", "expected a frame with one row per system", 'x="mrt"'),
    Mistake("plot a list", lambda w: lir.tradeoff_plot([1, 2]),
            ValueError, "a list", "expected a frame with one row per system", 'x="mrt"'),
]
# fmt: on


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_the_last_line_says_what_to_do(mistake, w):
    with pytest.raises(mistake.error) as caught:
        mistake.do(w)
    last = "".join(traceback.format_exception_only(caught.value)).strip().splitlines()[-1]
    for part in (mistake.value, mistake.expected, mistake.call):
        assert part in last
    assert len(last) < 1000


def test_what_looks_like_a_mistake_and_is_none(w):
    """Blank, missing and numeric texts, empty topics, numbers for qids, and more cells than there are."""
    index = w.build([{"docno": f"d{i}", "text": text} for i, text in enumerate([None, float("nan"), " ", 42, "bread"])])
    pipeline = w.q >> index.plaid(nprobe=10**6)
    assert pipeline(BREAD)["docno"].tolist()[0] == "d4"
    assert pipeline(BREAD.assign(query="42"))["docno"].tolist()[0] == "d3"
    assert pipeline(BREAD.assign(qid=1))["qid"].tolist() == [1, 1]
    for nothing in (BREAD.iloc[:0], BREAD.assign(query=None), BREAD.assign(query=float("nan"))):
        found = pipeline(nothing)
        assert len(found) == 0
        assert {"qid", "docno", "score", "rank"} <= set(found.columns)
