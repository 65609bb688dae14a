"""What the report draws, with matplotlib from plain arrays; nothing here imports torch."""
