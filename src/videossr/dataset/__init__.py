"""From stored videos to samples: the training set and VIUBench, as tables, and in verl's format."""
