"""Training: cached source features, the recipe (losses and schedule), and the loop that makes a checkpoint."""
