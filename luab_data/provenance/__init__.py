"""One image's rows, where they lie, and why its derived values are what they are."""
