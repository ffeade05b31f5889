"""The steps of the chain: one module or folder a step, and the only code that operators call."""
