/* Memory that a kernel takes while it runs. */
#ifndef INGOT_WORKSPACE_H
#define INGOT_WORKSPACE_H

#include <stdint.h>

/* Returns memory for a kernel on the calling thread, or NULL; generated code calls it. */
void *ingot_workspace_alloc(int device, int number, uint64_t bytes, int code, int bits);

/* Gives back what was allocated last. */
int ingot_workspace_free(int device, int number, void *memory);

/* Frees what the calling thread keeps. */
void ingot_workspace_release(void);

#endif
