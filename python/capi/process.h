/* What process.c, main.go and step.go call of each other. */
#ifndef KERNEL_PROCESS_H
#define KERNEL_PROCESS_H

#include "kernel.h"

/* Go calls this once, when it can take calls. The names are kept. */
void process_ready(const char *isa, const char *isas, const char *version);

/* Go calls this before it works in other threads than the caller's. */
void process_before_threads(void);

#endif
