"""The Virtual Cell Challenge 2025."""
