"""Real-IAD-DR as we read it: a source list derived from a data set's manifest, and its images, made on the fly."""
