/* Executing an artifact's program: kernels in order, and the memory between them. */
#ifndef INGOT_PROGRAM_H
#define INGOT_PROGRAM_H

#include <stdint.h>

#include "arena.h"
#include "pool.h"

/* Of what this library offers; ingot/runtime/native_library.py has the same. */
#define INGOT_VERSION 1

/* A tensor as DLPack describes it, which is how kernels take it. */
typedef struct {
  void *data;
  struct {
    int32_t type, number;
  } device;
  int32_t rank;
  struct {
    uint8_t code, bits;
    uint16_t lanes;
  } dtype;
  int64_t *shape;
  int64_t *strides; /* NULL: compact, in row-major order */
  uint64_t byte_offset;
} Tensor;

/* A value as generated code passes it: TVMFFIAny. */
typedef struct {
  int32_t kind;
  uint32_t padding;
  union {
    int64_t integer;
    double real;
    void *pointer;
    const char *text;
  } value;
} Value;

typedef int (*Kernel)(void *self, const Value *arguments, int32_t count, Value *result);

/* Runs a region: fills in data and shape of what it returns. 0, or it has failed. */
typedef int (*RegionCall)(int32_t region, int32_t input_count, Tensor **inputs,
                          int32_t output_count, Tensor **outputs);

typedef struct {
  const int64_t *words;
  int64_t word_count;
  Kernel *kernels;
  int32_t kernel_count;
  const int32_t *ranks; /* of each tensor */
  int32_t tensor_count, input_count, storage_count, slot_count, most_arguments;
  int64_t scratch_bytes; /* of small storages, which have places of their own */
} Program;

typedef struct {
  /* The kernel's number, or that of a region behind those of the kernels. */
  int64_t kernel, start, end; /* nanoseconds of CLOCK_MONOTONIC */
} Event;

enum {
  STATUS_DONE = 0,
  STATUS_REFUSED = 1,      /* the inputs: the message says why */
  STATUS_BEYOND_LIMIT = 2, /* of memory */
  STATUS_NO_MEMORY = 3,
  STATUS_KERNEL_FAILED = 4,
  STATUS_REGION_FAILED = 5,
  STATUS_WRITTEN_OUTSIDE = 6, /* a guarded block was written around */
  STATUS_DAMAGED = 7,         /* no such instruction */
};

#define LONGEST_MESSAGE 1024

typedef struct {
  Pool *pool;
  RegionCall call_region;
  int64_t memory_limit; /* bytes; none: 0 */
  int32_t threads, arena_flags;
  int32_t caller_core; /* that the calling thread is bound to meanwhile; none: -1 */
} Settings;

typedef struct {
  int64_t need, mapped; /* bytes of the arena: as planned, and as they are */
  int32_t planned_whole, event_count;
} Figures;

typedef struct {
  Tensor *tensors;
  int64_t *slots; /* sizes */
  struct {
    char *start;
    int64_t bytes;
  } *storages;
  char *const *outputs; /* where outputs go; NULL: into the arena */
  Value *arguments;
  char *scratch;
  Arena arena;
  Crew crew;
  RegionCall call_region;
  int32_t caller_core;
  Event *events; /* NULL: kernels are not timed */
  int32_t event_room, event_count;
  int32_t planned_whole; /* whether planning came to the end: no size depends on data */
  int32_t kernel_count, storage_count; /* of the program */
  int64_t need;          /* bytes of the arena, as planned */
  int32_t small_runs; /* that needed much less memory than there is, one after the other */
  int32_t error_count;
  char message[LONGEST_MESSAGE];
} Context;

/* What generated code calls. */
int ingot_lookup(void *library, const char *name, void **out);
int ingot_call(void *function, Value *arguments, int32_t count, Value *result);
int ingot_init_once(void **handle, int (*make)(void **result));
void ingot_raise_parts(const char *kind, const char **parts, int32_t count);

/* Returns a context, or NULL without memory. */
Context *ingot_context_create(const Program *program);
void ingot_context_destroy(Context *context);
void ingot_context_configure(Context *context, const Settings *settings);

/* Returns a tensor, whose data and shape may be set if it is a weight or a constant. */
Tensor *ingot_context_tensor(Context *context, int32_t number);

/* Goes through the program without computing: what its memory takes, and the sizes of its outputs.
 * shapes: of the inputs, one behind the other. */
int ingot_plan(const Program *program, Context *context, const int64_t *shapes);

/* Maps the memory that a planned execution takes. */
int ingot_prepare(Context *context);

/* Executes the program on inputs of the shapes that were planned.
 * pointers: to the inputs' data, then to memory for the outputs, NULL where their sizes are unknown. */
int ingot_execute(const Program *program, Context *context, void *const *pointers);

/* Has the kernels of the next executions timed; NULL: no longer. */
void ingot_context_time(Context *context, Event *events, int32_t room);

void ingot_context_figures(const Context *context, Figures *out);
int32_t ingot_version(void);
const char *ingot_context_message(const Context *context);

#endif
