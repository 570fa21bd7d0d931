/* Values of the maps, and the scratch that a probe's programs hand on; by concern. */
#ifndef OTEL_EBPF_TYPES_H
#define OTEL_EBPF_TYPES_H

#include "uprobe_types.h"
#include "process_types.h"
#include "config_types.h"
#include "runtime_types.h"

#endif
