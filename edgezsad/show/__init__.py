"""Tables, charts and heat maps. `maps` needs NumPy and OpenCV only; the other modules are for the book's pages."""
