"""The commands of the CLI, one a file.

Imports at the top of these files are light: each command imports what it needs when it runs, so
that `ganagerie --help` is quick and serving never loads torch.
"""
