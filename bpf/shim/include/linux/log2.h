/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OTEL_EBPF_SHIM_LOG2_H
#define OTEL_EBPF_SHIM_LOG2_H

/* BCC includes this file for its own bpf_log2(); it needs nothing from it. */

#endif
