"""Sandboxes kept warm, and bounded, for many takers."""
