"""PyTorch modules that sentence-transformers lacks: losses and layers. Imported inside functions: they load torch."""
