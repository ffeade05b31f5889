"""One module of operators for each step: declared inputs, a thin ``execute``, the work in ``include.steps``."""
