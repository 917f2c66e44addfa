"""The public protocol and the code generated from it."""
