"""Metrics: NumPy in, numbers out.

`image` and `bootstrap` (scores of images), `pixel` and `aupro_steps` (maps and masks) need nothing else of this
package; `curves` has the formulas, `ranks` and `regions` what they are computed from. `table` and `benchmarks` make the
book's tables from score files.
"""
