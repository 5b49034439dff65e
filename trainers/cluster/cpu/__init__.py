"""OpenRLHF, vLLM and DeepSpeed on a machine without a GPU, for tests and first steps."""
