"""From recordings to a model: windows, gradient, Adam, the fit, and its measures."""
