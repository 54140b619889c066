"""The path from texts to a bank that every encoder of sequences shares: dedupe, batch by length, encode, keep, resume."""
