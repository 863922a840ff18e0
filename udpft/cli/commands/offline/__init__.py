"""Commands that ask no server: they work on files that are here."""
