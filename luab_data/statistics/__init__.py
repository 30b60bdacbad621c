"""Stage 3: columns in, statistics out: of the dataset and of its annotators. Pure."""
