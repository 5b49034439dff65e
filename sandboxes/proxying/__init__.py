"""The one way out of a sandbox: a proxy to the hosts that were named."""
