/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OTEL_EBPF_SHIM_VERSION_H
#define OTEL_EBPF_SHIM_VERSION_H

/* The oldest supported kernel: 5.10.0. It steers only BCC's own helpers. */
#define LINUX_VERSION_CODE 330240
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))

#endif
