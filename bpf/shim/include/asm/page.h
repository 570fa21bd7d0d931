/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OTEL_EBPF_SHIM_PAGE_H
#define OTEL_EBPF_SHIM_PAGE_H

/* Used by BCC only for its ring buffer's size unit. */
#ifndef PAGE_SIZE
#define PAGE_SIZE 4096
#endif

#endif
