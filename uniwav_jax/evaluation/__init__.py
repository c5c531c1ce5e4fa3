"""Evaluates trained models: codewords and units against phones, recognition, codecs, reports."""
