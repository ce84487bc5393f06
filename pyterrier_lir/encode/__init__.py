"""Text -> embeddings: the encoders. transformers and sentence-transformers are imported in this room only."""
