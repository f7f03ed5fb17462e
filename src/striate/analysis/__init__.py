"""What can be said about a network from its window graph alone: summary, receptive field, matrix, audit."""
