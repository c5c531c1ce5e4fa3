"""Texts as symbols: alphabets, lexicons, TextGrids."""
