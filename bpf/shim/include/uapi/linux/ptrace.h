/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OTEL_EBPF_SHIM_UAPI_PTRACE_H
#define OTEL_EBPF_SHIM_UAPI_PTRACE_H

/* struct pt_regs comes from linux/types.h. */
#include <linux/types.h>

#endif
