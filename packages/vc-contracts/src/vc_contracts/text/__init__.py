"""Text of strangers: names, lists and tables as people save them, and labels made harmless before they are written."""
