"""Thin adapters, one for each host toolkit that needs more than the editor itself."""
