"""Commands that make pages for a browser."""
