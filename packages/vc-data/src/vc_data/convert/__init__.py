"""Foreign files become screens: columns, labels, counts, conversion."""
