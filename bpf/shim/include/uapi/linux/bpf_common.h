/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OTEL_EBPF_SHIM_UAPI_BPF_COMMON_H
#define OTEL_EBPF_SHIM_UAPI_BPF_COMMON_H

/* Instruction classes of hand-written bytecode; compiled programs need none of them. */

#endif
