"""Losses as formulas on arrays; none of them reads a configuration."""
