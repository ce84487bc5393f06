"""How well an index still fits to what was added to it, and what to do when it does not."""

from __future__ import annotations

from pyterrier_lir.index.store import Store

RESIDUAL = 1.1  # added tokens may lie so much farther from their centroids than those on which the codec was trained
GROWTH = 4  # and be so many times more: the field's rule would have twice as many centroids
SEGMENTS = 10
DELETED = 0.2  # of all documents


def residuals(store: Store) -> dict[str, float | None]:
    """Mean ``|x - c|`` of the tokens on which the codec was trained, and of those that were added since.

    Once `compact` has joined them, ``residual_added`` is what the mean over all says of the added ones.
    """
    trained = store.manifest["trained"]
    tokens = sum(segment.num_tokens for segment in store.segments) - trained["tokens"]
    norms = sum(segment.folder.meta["residual_norms"] for segment in store.segments) - trained["residual_norms"]
    # An imported index does not say how far its tokens lay from their centroids.
    before = trained["residual_norms"] / 1e6 / trained["tokens"] if trained["residual_norms"] else None
    return {"residual": before, "residual_added": norms / 1e6 / tokens if tokens > 0 and norms > 0 else None}


def advice(store: Store) -> list[str]:
    """Sentences that say what would make the index better; none if it is well."""
    said = []
    found, trained = residuals(store), store.manifest["trained"]["tokens"]
    before, added = found["residual"], found["residual_added"]
    rebuild = 'Rebuild it: (encoder >> index.indexer(mode="overwrite")).index(corpus).'
    if before and added and added > RESIDUAL * before:
        said.append(
            f"Added tokens lie {added / before:.2f} times as far from their centroids as at the build. {rebuild}"
        )
    if trained and store.manifest["tokens"] > GROWTH * trained:
        said.append(
            f"The index has {store.manifest['tokens'] / trained:.1f} times as many tokens as at the build, which would "
            f"now take more centroids. {rebuild}"
        )
    if len(store.segments) > SEGMENTS:
        said.append(
            f"Documents lie in {len(store.segments)} segments, each of which is searched. Join them: index.compact()."
        )
    if len(store.deleted) > DELETED * len(store):
        said.append(f"{len(store.deleted)} of {len(store)} documents are deleted but take up room: index.compact().")
    return said
