"""Embeddings -> index: segments on disk, their build, the opened store and the artifact over them."""
