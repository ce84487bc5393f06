"""PyTorch modules: losses and layers that sentence-transformers lacks. Imported inside functions only: they load torch."""
