"""What `otel-ebpf record` writes: the kernel half's records, without the secrets they carry."""
