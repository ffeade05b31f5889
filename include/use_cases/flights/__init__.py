"""The use case ``flights``; only its own files may import this package, others name its adapter in a spec."""
