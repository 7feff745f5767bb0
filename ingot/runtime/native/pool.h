/* Threads that share the loops of kernels. */
#ifndef INGOT_POOL_H
#define INGOT_POOL_H

#include <stdint.h>

/* What generated code is given beside the number of its task. */
typedef struct {
  void *sync_handle; /* not used; generated code knows the field */
  int32_t num_task;
} TaskGroup;

typedef int (*TaskBody)(int task, TaskGroup *group, void *closure);

typedef struct Pool Pool;

/* What an execution brings along to the threads that compute for it. */
typedef struct {
  Pool *pool;
  int32_t threads;     /* at most so many threads compute a loop, the caller included */
  int32_t finer_loops; /* how many more loops are cut into finer parts than threads */
  void *owner;         /* where errors go: the execution context */
} Crew;

/* The crew of the calling thread; NULL outside of an execution. */
extern __thread Crew *ingot_crew;

/* Makes a pool whose workers start as they are needed.
 *
 * cores: the processors that worker i is bound to, cores[i % count]; none: not bound.
 * spin: nanoseconds that an idle worker looks for work before it sleeps. Returns NULL without
 * memory. */
Pool *ingot_pool_create(const int32_t *cores, int32_t count, int64_t spin);

/* Ends the workers and frees the pool; no loop may be running. */
void ingot_pool_destroy(Pool *pool);

/* Starts workers up to a number; returns how many there are. */
int32_t ingot_pool_grow(Pool *pool, int32_t workers);

/* Computes a loop, on the calling thread and on workers of its crew; 0 or the first failure.
 * Generated code calls it by way of a pointer. count 0: as many tasks as suit. */
int ingot_parallel_launch(TaskBody body, void *closure, int count);

#endif
