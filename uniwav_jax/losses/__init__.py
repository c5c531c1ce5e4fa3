"""Losses as functions of arrays; none of them reads a configuration."""
