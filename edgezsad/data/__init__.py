"""Data: manifests of what is on disk, layouts of the public benchmarks, images, generated sets, proof of no leak."""
