"""Better queries."""

from pyterrier_lir.feedback.ball_carving import BallCarving

__all__ = ["BallCarving"]
