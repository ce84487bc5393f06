"""Transformers are equal where all their arguments are."""

from examples import ENCODER, GRAPH, INDEX, STATS

import pyterrier_lir as lir


def test_every_argument_counts_for_equality(tmp_path):
    other = lir.LirIndex(tmp_path / "other")
    variants = [
        INDEX.exhaustive(), INDEX.exhaustive(num_results=5), INDEX.exhaustive(docnos=["earth"]),
        INDEX.exhaustive(docnos=[]), INDEX.exhaustive(num_threads=2), other.exhaustive(),
        INDEX.plaid(), INDEX.plaid(num_results=5), INDEX.plaid(nprobe=2), INDEX.plaid(ndocs=9),
        INDEX.plaid(threshold=0.1), INDEX.plaid(threshold_quantile=0.1), INDEX.plaid(min_docs=5),
        INDEX.plaid(preset="paper"),
        INDEX.plaid(docnos=["earth"]), INDEX.plaid(num_threads=2), INDEX.plaid(stats=True), other.plaid(),
        INDEX.plaid_candidates(), INDEX.plaid_candidates(nprobe=2), INDEX.plaid_candidates(min_docs=2),
        INDEX.plaid_candidates(num_threads=2), INDEX.centroid_maxsim(), INDEX.centroid_maxsim(threshold=0.1),
        INDEX.centroid_maxsim(threshold_quantile=0.1), INDEX.centroid_maxsim(missing="drop"),
        INDEX.centroid_maxsim(num_threads=2),
        INDEX.warp(), INDEX.warp(num_results=5), INDEX.warp(nprobe=2), INDEX.warp(t_prime=2), INDEX.warp(bound=2),
        INDEX.warp(groups=2), INDEX.warp(min_docs=2), INDEX.warp(preset="paper"), INDEX.warp(docnos=["earth"]),
        INDEX.warp(num_threads=2), INDEX.warp(stats=True), other.warp(),
        INDEX.xtr(), INDEX.xtr(num_results=5), INDEX.xtr(token_k=2), INDEX.xtr(impute="zero"), INDEX.xtr(impute=0.2),
        INDEX.xtr(normalise="sum"), INDEX.xtr(nprobe=2), INDEX.xtr(docnos=["earth"]), INDEX.xtr(num_threads=2),
        INDEX.xtr(stats=True), other.xtr(),
        INDEX.xtr_scorer(), INDEX.xtr_scorer(token_k=2), INDEX.xtr_scorer(impute="zero"),
        INDEX.xtr_scorer(normalise="sum"), INDEX.xtr_scorer(missing="drop"), INDEX.xtr_scorer(num_threads=2),
        INDEX.maxsim(), INDEX.maxsim(missing="drop"), INDEX.maxsim(num_threads=2), other.maxsim(),
        lir.MaxSim(), lir.MaxSim(num_threads=2), INDEX.embs_loader(), INDEX.embs_loader(missing="drop"),
        lir.ToyEncoder(), lir.ToyEncoder(dim=5), lir.ToyEncoder(seed=1), lir.ToyEncoder(batch_size=5),
        lir.ToyEncoder(text_field="body"), lir.ToyEncoder().query_encoder(), lir.ToyEncoder(seed=1).query_encoder(),
        lir.ToyEncoder().doc_encoder(), lir.ToyEncoder().text_scorer(), lir.ToyEncoder().text_scorer(num_threads=1),
        INDEX.muvera(), INDEX.muvera(num_results=5), INDEX.muvera(ann="pq"), INDEX.muvera(k_sim=3),
        INDEX.muvera(d_proj=None), INDEX.muvera(reps=3), INDEX.muvera(final_dim=64), INDEX.muvera(fill_empty=False),
        INDEX.muvera(projection="sparse"), INDEX.muvera(center=False), INDEX.muvera(seed=1),
        INDEX.muvera(ann="hnsw", ef_search=9), INDEX.muvera(ann="ivfpq", nprobe=2), INDEX.muvera(docnos=["earth"]),
        INDEX.muvera(num_threads=2), INDEX.muvera(stats=True), other.muvera(),
        lir.Muvera(), lir.Muvera(k_sim=3), lir.Muvera(d_proj=None), lir.Muvera(reps=3), lir.Muvera(final_dim=64),
        lir.Muvera(fill_empty=False), lir.Muvera(projection="sparse"), lir.Muvera(center=[0.5, 1]),
        lir.Muvera(center=INDEX), lir.Muvera(center=other), lir.Muvera(seed=1), lir.Muvera(num_threads=2),
        lir.feedback.BallCarving(), lir.feedback.BallCarving(tau=0.5),
        INDEX.unseen(), other.unseen(),
        INDEX.colbert_prf(), INDEX.colbert_prf(fb_docs=4), INDEX.colbert_prf(clusters=25), INDEX.colbert_prf(fb_embs=9),
        INDEX.colbert_prf(beta=0.5), INDEX.colbert_prf(seed=1), INDEX.colbert_prf(return_docs=True),
        lir.feedback.ColbertPRF(stats=STATS), other.colbert_prf(), INDEX.query_pruning(keep=1),
        INDEX.query_pruning(keep=2), other.query_pruning(keep=1), lir.feedback.MaskWeighting(5),
        lir.feedback.MaskWeighting(6), lir.feedback.MaskWeighting(5, exclude=(1,)),
        INDEX.explain(), INDEX.explain(ENCODER), ENCODER.explain(), lir.ToyEncoder(seed=1).explain(),
        other.explain(), lir.explain.Explain(),
        lir.rerank.CandidatePruning(0.1), lir.rerank.CandidatePruning(0.2), lir.rerank.CandidatePruning(0.1, k=2),
        INDEX.early_exit_maxsim(2), INDEX.early_exit_maxsim(3), INDEX.early_exit_maxsim(2, k=2),
        INDEX.early_exit_maxsim(2, missing="drop"), INDEX.early_exit_maxsim(2, num_threads=2),
        other.early_exit_maxsim(2), INDEX.ladr(GRAPH), INDEX.ladr(INDEX.corpus_graph(k=3)),
        INDEX.ladr(INDEX.corpus_graph(k=2, rows=3)), INDEX.ladr(GRAPH, depth=3), INDEX.ladr(GRAPH, depth=None),
        INDEX.ladr(GRAPH, num_results=9), INDEX.ladr(GRAPH, missing="drop"), INDEX.ladr(GRAPH, num_threads=2),
        other.ladr(GRAPH),
        lir.TokenPooling(2), lir.TokenPooling(3), lir.TokenPooling(2, method="kmeans"),
        lir.TokenPooling(2, protected=0), lir.TokenPooling(2, normalise=False), lir.TokenPruning("first", keep=0.5),
        lir.TokenPruning("first", keep=0.4), lir.TokenPruning("first", keep=0.5, protected=0),
        lir.TokenPruning("idf", keep=0.5, stats=STATS), lir.TokenPruning("stopwords", tau=5, stats=STATS),
        lir.TokenPruning("stopwords", tau=6, stats=STATS), lir.Truncate(8), lir.Truncate(9),
    ]  # fmt: skip
    assert len(set(variants)) == len(variants)
    assert len({repr(variant) for variant in variants}) == len(variants)
