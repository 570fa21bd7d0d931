/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OTEL_EBPF_SHIM_UAPI_BPF_H
#define OTEL_EBPF_SHIM_UAPI_BPF_H

/* BCC brings its own bpf.h; another set of those definitions would clash with it. */
#include <linux/types.h>

#endif
