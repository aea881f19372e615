"""The book: its numbers filled in, its pages staged, built by Jupyter Book, and mended where the theme falls short."""
