"""What a dataset shows the outside: card, citation, Croissant, loading script, upload."""
