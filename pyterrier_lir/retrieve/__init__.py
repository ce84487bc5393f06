"""Index -> ranking: one file for each retrieval method."""
