"""Measures of what was learned: codebook analysis, mutual information with phones."""
