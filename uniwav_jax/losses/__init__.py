"""The two pretraining losses (method: sections 4 and 5 of the paper's appendix notation)."""
