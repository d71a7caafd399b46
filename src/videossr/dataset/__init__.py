"""The training set and VIUBench: building samples from stored videos, their tables, and verl's format."""
