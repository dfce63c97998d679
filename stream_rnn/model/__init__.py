"""What a trained network is: architecture, weights, names, units, preprocessing; and its file."""
