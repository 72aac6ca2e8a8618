"""The rules of the trade. Imports models and the standard library only."""
