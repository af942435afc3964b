"""Helpers beside models: sorus.utils.data."""
