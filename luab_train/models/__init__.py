"""A recipe in, a timm classifier with a point head out; the head comes off without a trace."""
