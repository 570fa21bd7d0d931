/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OTEL_EBPF_SHIM_UAPI_IF_PACKET_H
#define OTEL_EBPF_SHIM_UAPI_IF_PACKET_H

/* BCC includes this file; nothing of it is used. */
#include <linux/types.h>

#endif
