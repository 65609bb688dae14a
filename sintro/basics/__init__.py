"""What every room stands on: whole files, keyed randomness, progress on the terminal."""
