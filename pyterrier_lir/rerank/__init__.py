"""Ranking -> ranking: exact MaxSim from the index, from columns, from text."""
