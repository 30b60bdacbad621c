"""A dataset folder in, one HTML page out that needs nothing else: tables, figures, replays."""
