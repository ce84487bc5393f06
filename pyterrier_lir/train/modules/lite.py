"""LITE's interaction as a PyTorch module; what it computes is said, and done again, in `pyterrier_lir.rerank.lite`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyterrier_lir.rerank.lite import EPSILON, Weights, shapes


class Interaction(nn.Module):
    """``<W, C> + b`` of padded similarity matrices ``(..., N, M)``; zero before it is trained."""

    def __init__(self, query_rows: int, doc_rows: int, hidden: int) -> None:
        super().__init__()
        made = {name: torch.zeros(shape) for name, shape in shapes(query_rows, doc_rows, hidden).items()}
        for name in ("A1", "A2", "B1", "B2"):
            nn.init.kaiming_uniform_(made[name].T, a=5**0.5)
        made["row_scale"] += 1
        made["col_scale"] += 1
        self.w = nn.ParameterDict(made)

    def forward(self, s: Tensor) -> Tensor:
        """``(..., N, M)`` to ``(...)``."""
        w = self.w
        r = s + functional.relu(s @ w["A1"] + w["a1"]) @ w["A2"] + w["a2"]
        t = functional.layer_norm(r, r.shape[-1:], w["row_scale"], w["row_shift"], EPSILON).transpose(-1, -2)
        c = t + functional.relu(t @ w["B1"] + w["b1"]) @ w["B2"] + w["b2"]
        c = functional.layer_norm(c, c.shape[-1:], w["col_scale"], w["col_shift"], EPSILON).transpose(-1, -2)
        return (w["W"] * c).sum(dim=(-1, -2)) + w["b"]

    def arrays(self) -> Weights:
        """The learned arrays."""
        return {name: array.detach().cpu().float().numpy() for name, array in self.w.items()}
