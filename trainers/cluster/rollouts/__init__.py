"""Beside a vLLM engine: episodes, the engine as their policy, and the frozen solver."""
