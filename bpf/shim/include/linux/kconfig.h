/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OTEL_EBPF_SHIM_KCONFIG_H
#define OTEL_EBPF_SHIM_KCONFIG_H

/* The one option that BCC's helpers ask for. */
#define CONFIG_BPF_SYSCALL 1

#endif
