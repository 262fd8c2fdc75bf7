"""Measures of picture quality."""
