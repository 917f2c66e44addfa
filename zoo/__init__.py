"""The zoo: exported generators, each with its card, checksums and measured quality.

Torch-free, except for the two folders `nets` and `exporters`.
"""
