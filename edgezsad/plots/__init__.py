"""Figures of the book, all in one style: `style` sets it, the other modules draw."""
