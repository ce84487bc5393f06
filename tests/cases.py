"""Every transformer that the package has: how it is made, what it takes, what it gives."""

import importlib.util
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from examples import ENCODED, ENCODED_RESULTS, ENCODER, GRAPH, INDEX, QUERIES, RESULTS, STATS

import pyterrier_lir as lir
from pyterrier_lir.pages.render import TextPage
from pyterrier_lir.rerank import lite
from pyterrier_lir.retrieve.lemur_retriever import LemurRetriever
from pyterrier_lir.retrieve.muvera_retriever import MuveraRetriever
from pyterrier_lir.retrieve.plaid import Plaid
from pyterrier_lir.retrieve.warp import Warp
from pyterrier_lir.retrieve.xtr import Xtr

SHARDS = lir.distributed.Shards.split(INDEX, INDEX._directory.parent / "shards", 2)
LOADED = INDEX.embs_loader()(ENCODED_RESULTS)
LITE = Path(tempfile.mkdtemp(prefix="lir-lite-")) / "model"
lite.save(
    LITE,
    {"query_rows": 4, "doc_rows": 8, "hidden": 2, "encoder": None},
    {name: np.ones(shape, np.float32) for name, shape in lite.shapes(4, 8, 2).items()},
)
DOCUMENTS = pd.DataFrame({"docno": ["x", "y"], "text": ["one day", "fresh bread"]})

PAGES = pd.DataFrame({"docno": ["x", "y"], "image": [TextPage("one day"), TextPage("fresh bread")]})
TOY_PAGES = lir.ToyPageEncoder(dim=8)
PAGE_RESULTS = QUERIES.merge(PAGES, how="cross").assign(score=1.0, rank=0)
ENCODED_PAGES = TOY_PAGES(PAGES)
FRAMES = pd.DataFrame(
    {"docno": ["x", "y"], "frames": [[np.zeros((8, 8, 3), np.uint8)], [np.ones((8, 8, 3), np.uint8)]]}
)
NO_FILES = pd.DataFrame({"docno": ["x"], "pdf": ["x.pdf"], "video": ["x.mp4"]})

# name -> how to make the transformer, an input, the columns that it needs, those that it adds, those that it drops
RANK = {"score", "rank"}
QUERY_SIDE = {"query_embs", "query_tok_ids", "query_encoder"}
DOC_SIDE = {"doc_embs", "doc_tok_ids", "doc_encoder"}
ALIGNMENT = {
    "match_matrix", "match_pos", "match_sim", "match_share", "match_exact", "query_words", "doc_words",
    "doc_patches",
}  # fmt: skip
CHUNK = {"chunk_start", "chunk_end"}
CASES = {
    "encoder-query": (lir.ToyEncoder, QUERIES, ["qid", "query"], QUERY_SIDE, set()),
    "encoder-doc": (lir.ToyEncoder, DOCUMENTS, ["docno", "text"], DOC_SIDE, set()),
    "encoder-score": (lir.ToyEncoder, RESULTS, ["qid", "query", "docno", "text"], RANK, set()),
    "query_encoder": (lambda: ENCODER.query_encoder(), QUERIES, ["query"], QUERY_SIDE, set()),
    "query_encoder-results": (lambda: ENCODER.query_encoder(), RESULTS, ["query"], QUERY_SIDE, set()),
    "doc_encoder": (lambda: ENCODER.doc_encoder(), DOCUMENTS, ["text"], DOC_SIDE, set()),
    "text_scorer": (lambda: ENCODER.text_scorer(), RESULTS, ["qid", "query", "docno", "text"], RANK, set()),
    "exhaustive": (lambda: INDEX.exhaustive(), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "exhaustive-docnos": (
        lambda: INDEX.exhaustive(docnos=["earth", "bread"]), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set(),
    ),
    "index-maxsim": (lambda: INDEX.maxsim(), ENCODED_RESULTS, ["qid", "query_embs", "docno"], RANK, set()),
    "maxsim": (
        lambda: lir.MaxSim(), LOADED, ["qid", "query_embs", "docno", "doc_embs"], RANK, DOC_SIDE,
    ),
    "plaid": (lambda: INDEX.plaid(), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "plaid-stats": (
        lambda: INDEX.plaid(stats=True, docnos=["earth", "bread"]), ENCODED, ["qid", "query_embs"],
        {"docno", *RANK, *Plaid.STATS}, set(),
    ),
    "plaid_candidates": (lambda: INDEX.plaid_candidates(), ENCODED, ["qid", "query_embs"], {"docno"}, set()),
    "centroid_maxsim": (lambda: INDEX.centroid_maxsim(), ENCODED_RESULTS, ["qid", "query_embs", "docno"], RANK, set()),
    "warp": (lambda: INDEX.warp(), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "warp-stats": (
        lambda: INDEX.warp(stats=True, docnos=["earth", "bread"]), ENCODED, ["qid", "query_embs"],
        {"docno", *RANK, *Warp.STATS}, set(),
    ),
    "xtr": (lambda: INDEX.xtr(), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "xtr-stats": (
        lambda: INDEX.xtr(stats=True, nprobe=3, impute=0.5), ENCODED, ["qid", "query_embs"],
        {"docno", *RANK, *Xtr.STATS}, set(),
    ),
    "xtr_scorer": (lambda: INDEX.xtr_scorer(), ENCODED_RESULTS, ["qid", "query_embs", "docno"], RANK, set()),
    "muvera": (lambda: INDEX.muvera(), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "muvera-stats": (
        lambda: INDEX.muvera(stats=True, docnos=["earth", "bread"]), ENCODED, ["qid", "query_embs"],
        {"docno", *RANK, *MuveraRetriever.STATS}, set(),
    ),
    "muvera-hnsw": (lambda: INDEX.muvera(ann="hnsw"), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "lemur": (
        lambda: INDEX.lemur(hidden=8, stats=True), ENCODED, ["qid", "query_embs"],
        {"docno", *RANK, *LemurRetriever.STATS}, set(),
    ),
    "lite": (lambda: lir.rerank.Lite(LITE), LOADED, ["qid", "query_embs", "docno", "doc_embs"], RANK, DOC_SIDE),
    "Muvera-query": (lambda: lir.Muvera(k_sim=2, reps=3), ENCODED, ["query_embs"], {"query_vec"}, set()),
    "Muvera-doc": (
        lambda: lir.Muvera(k_sim=2, reps=3, center=INDEX), ENCODER(DOCUMENTS), ["doc_embs"], {"doc_vec"}, set(),
    ),
    "Muvera-both": (
        lambda: lir.Muvera(k_sim=2, d_proj=None, final_dim=64), INDEX.embs_loader()(ENCODED_RESULTS), [],
        {"query_vec", "doc_vec"}, set(),
    ),
    "ball_carving": (lir.feedback.BallCarving, ENCODED, ["query_embs"], set(), {"query_tok_ids"}),
    "embs_loader": (lambda: INDEX.embs_loader(), RESULTS, ["docno"], DOC_SIDE, set()),
    "page-encoder-query": (lambda: lir.ToyPageEncoder(dim=8), QUERIES, ["qid", "query"], QUERY_SIDE, set()),
    "page-encoder-doc": (
        lambda: lir.ToyPageEncoder(dim=8), PAGES, ["docno", "image"], {*DOC_SIDE, "doc_grid"}, set(),
    ),
    "page-doc_encoder": (
        lambda: TOY_PAGES.doc_encoder(), PAGES, ["docno", "image"], {*DOC_SIDE, "doc_grid"}, set(),
    ),
    "page-scorer": (
        lambda: TOY_PAGES.text_scorer(), PAGE_RESULTS, ["qid", "query", "docno", "image"], RANK, set(),
    ),
    "page-explain": (
        lambda: TOY_PAGES.explain(), PAGE_RESULTS, ["qid", "query", "docno", "image"],
        ALIGNMENT | QUERY_SIDE | {"doc_grid"}, set(),
    ),
    "video_encoder": (
        lambda: TOY_PAGES.video_encoder(), FRAMES, ["docno", "frames"], {*DOC_SIDE, "doc_grid"}, set(),
    ),
    "grid_pooling": (
        lambda: lir.reduce.GridPooling("rows"), ENCODED_PAGES, ["doc_embs", "doc_tok_ids", "doc_grid"], set(), set(),
    ),
    "blank_pruning": (
        lambda: lir.reduce.BlankPruning(), ENCODED_PAGES, ["doc_embs", "doc_tok_ids", "doc_grid", "image"], set(),
        set(),
    ),
    "mean_weighting": (
        lir.feedback.MeanWeighting, ENCODED, ["query_embs", "query_tok_ids"], {"query_weights"}, set(),
    ),
    "pdf_pages": (
        lambda: lir.pages.PdfPages(on_error="skip"), NO_FILES, ["docno", "pdf"], {"page", "image"}, {"pdf"},
    ),
    "video_frames": (
        lambda: lir.pages.VideoFrames(on_error="skip"), NO_FILES, ["docno", "video"], {"frames", "frame_times"}, set(),
    ),
    "token_pooling": (lambda: lir.TokenPooling(2), LOADED, ["doc_embs"], set(), set()),
    "token_pruning": (lambda: lir.TokenPruning("first", keep=0.5), LOADED, ["doc_embs"], set(), set()),
    "token_pruning-documents": (
        lambda: lir.TokenPruning("first", keep=0.5), ENCODER(DOCUMENTS), ["doc_embs"], set(), set(),
    ),
    "truncate": (lambda: lir.Truncate(8), LOADED.drop(columns=["query_embs"]), ["doc_embs"], set(), set()),
    "truncate-queries": (lambda: lir.Truncate(8), ENCODED, ["query_embs"], set(), set()),
    "colbert_prf": (
        lambda: INDEX.colbert_prf(), ENCODED_RESULTS, ["qid", "query_embs", "docno", "rank"], {"query_weights"},
        {"docno", "text", "score", "rank"},
    ),
    "colbert_prf-docs": (
        lambda: INDEX.colbert_prf(return_docs=True), ENCODED_RESULTS, ["qid", "query_embs", "docno", "rank"],
        {"query_weights"}, set(),
    ),
    "colbert_prf-columns": (
        lambda: lir.feedback.ColbertPRF(stats=STATS, return_docs=True), LOADED,
        ["qid", "query_embs", "docno", "rank", "doc_embs", "doc_tok_ids"], {"query_weights"}, set(),
    ),
    "query_pruning": (
        lambda: INDEX.query_pruning(keep=1), ENCODED, ["query_embs", "query_tok_ids"], {"query_weights"}, set(),
    ),
    "mask_weighting": (
        lambda: lir.feedback.MaskWeighting(5), ENCODED, ["query_embs", "query_tok_ids"], {"query_weights"}, set(),
    ),
    "candidate_pruning": (
        lambda: lir.rerank.CandidatePruning(0.1, k=2), RESULTS, ["qid", "docno", "score"], set(), set(),
    ),
    "early_exit_maxsim": (
        lambda: INDEX.early_exit_maxsim(1, k=2), ENCODED_RESULTS, ["qid", "query_embs", "docno", "rank"], RANK, set(),
    ),
    "ladr": (lambda: INDEX.ladr(GRAPH), ENCODED_RESULTS, ["qid", "query_embs", "docno"], RANK, {"text"}),
    "explain": (
        lambda: INDEX.explain(ENCODER), ENCODED_RESULTS, ["qid", "query_embs", "query_tok_ids", "docno"], ALIGNMENT,
        set(),
    ),
    "explain-columns": (
        lambda: lir.explain.Explain(), LOADED,
        ["qid", "query_embs", "query_tok_ids", "docno", "doc_embs", "doc_tok_ids"], ALIGNMENT, DOC_SIDE,
    ),
    "explain-text": (
        lambda: ENCODER.explain(), RESULTS, ["qid", "query", "docno", "text"],
        ALIGNMENT | QUERY_SIDE | {"doc_spans", "doc_text"}, set(),
    ),
    "sharded-exhaustive": (lambda: SHARDS.exhaustive(), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "sharded-plaid": (lambda: SHARDS.plaid(), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "sharded-plaid-stats": (
        lambda: SHARDS.plaid(stats=True, docnos=["earth", "bread"]), ENCODED, ["qid", "query_embs"],
        {"docno", *RANK, *SHARDS.plaid().STATS}, set(),
    ),
    "sharded-warp": (lambda: SHARDS.warp(), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "sharded-maxsim": (lambda: SHARDS.maxsim(), ENCODED_RESULTS, ["qid", "query_embs", "docno"], RANK, set()),
    "unseen": (lambda: INDEX.unseen(), DOCUMENTS, ["docno"], set(), set()),
    "query_rewrite": (
        lambda: lir.agents.QueryRewrite(template="now {query}"), QUERIES, ["qid", "query"], {"query_0"}, set(),
    ),
    "late_chunking": (
        lambda: lir.LateChunking(ENCODER, length=1), DOCUMENTS, ["docno", "text"], {*DOC_SIDE, *CHUNK}, set(),
    ),
    "passages": (lambda: lir.LateChunking(ENCODER, length=1).passages(), DOCUMENTS, ["docno", "text"], CHUNK, set()),
}  # fmt: skip
# Stores of others, where they are installed; tests/test_peers.py says of the others that they are not.
PEERS = {"Qdrant": "qdrant_client", "LanceDB": "lancedb", "DuckDB": "duckdb", "Milvus": "milvus_lite"}
PEERS = {name: module for name, module in PEERS.items() if importlib.util.find_spec(module)}
CASES |= {
    f"peer-{name}": (
        lambda name=name: getattr(lir.peers, name)(INDEX), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set(),
    )
    for name in PEERS
}  # fmt: skip
