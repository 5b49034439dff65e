"""Sandboxes of this machine's kernel: namespaces on an overlayfs, with a launcher as their first process."""
