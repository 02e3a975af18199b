"""Tensor and what it is made of: storages, views, calls, reading, text."""
