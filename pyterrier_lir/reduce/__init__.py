"""Fewer or smaller vectors: token pooling, static pruning, dimension cuts, all ``doc_embs -> doc_embs``."""
