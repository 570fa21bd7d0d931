"""``otel-ebpf.yaml``: what flags and variables say, kept in a file.

A key of the file stands for a variable. What the file says is laid beneath the environment, and
everything downstream goes on reading variables: a flag wins over a variable, a variable over
the file.
"""
