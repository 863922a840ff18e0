"""Parts of files: ranges of them, fetched as files of their own."""
