/* A program is a list of instructions in words of 64 bits. Tensors, storages and sizes live in
 * numbered places; each tensor is defined once on every way through the program. */
#define _GNU_SOURCE
#include "program.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CPU 1 /* DLPack's number */
#define ALIGNMENT 64

enum { VALUE_NONE = 0, VALUE_INTEGER = 1, VALUE_REAL = 3, VALUE_TENSOR = 7, VALUE_TEXT = 8 };

/* Numbers of the instructions; ingot/runtime/program.py has the same. A size is two words: 0 and a
 * number, or 1 and a slot. An argument is two words: its kind and a value. */
enum {
  END = 0,
  CALL = 1,      /* kernel, count, arguments */
  SIZE_CALL = 2, /* the same of what is computed from sizes alone: made when planning, too */
  STORAGE = 3,   /* storage, size */
  OUTPUT = 4,    /* storage, output, size: memory of the caller's */
  SCRATCH = 5,   /* storage, offset, bytes: memory of the context's own */
  FREE = 6,      /* storage */
  TENSOR = 7,    /* tensor, storage, offset, code, bits, rank, sizes */
  VIEW = 8,      /* tensor, source, code, bits, rank, sizes: of the same memory */
  ALIAS = 9,     /* tensor, source */
  DIMENSION = 10, /* slot, tensor, axis */
  COPY = 11,     /* slot, size */
  MATCH = 12,    /* size, size, node: equal, or the inputs do not fit each other */
  READ = 13,     /* tensor, count, first slot: sizes that a tensor holds */
  WRITE = 14,    /* tensor, count, sizes */
  UNLESS = 15,   /* tensor, word: goes on there if the tensor's element is zero */
  JUMP = 16,     /* word */
  REGION = 17,   /* region, counts of inputs and outputs; tensors; tensors with code, bits, rank */
  DATA = 18,     /* from here on sizes depend on data: planning ends */
  RANK = 19,     /* tensor, rank: which a region may have got wrong */
};

enum { ARGUMENT_TENSOR = 0, ARGUMENT_NUMBER = 1, ARGUMENT_SLOT = 2, ARGUMENT_REAL = 3,
       ARGUMENT_SLOTS = 4 };

#define SMALLEST_KEPT (1 << 20)  /* bytes of an arena that are not given back */
#define RUNS_UNTIL_SHRUNK 64     /* that need less than half of it */

static __thread Context *executing;

static int fail(Context *context, int status, const char *message) {
  snprintf(context->message, sizeof context->message, "%s", message);
  return status;
}

/* The context that a kernel on the calling thread computes for. */
static Context *owner(void) {
  return ingot_crew ? ingot_crew->owner : executing;
}

static void raise_message(const char *message) {
  Context *context = owner();
  if (!context) return;
  if (__atomic_fetch_add(&context->error_count, 1, __ATOMIC_ACQ_REL) == 0) {
    snprintf(context->message, sizeof context->message, "%s", message);
  }
}

static int refuse_function; /* its address stands for the function */

int ingot_lookup(void *library, const char *name, void **out) {
  (void)library;
  if (strcmp(name, "ingot.refuse") == 0) {
    *out = &refuse_function;
    return 0;
  }
  char message[LONGEST_MESSAGE];
  snprintf(message, sizeof message, "the code calls %s, which the runtime does not have", name);
  raise_message(message);
  return -1;
}

int ingot_init_once(void **handle, int (*make)(void **result)) {
  if (__atomic_load_n(handle, __ATOMIC_ACQUIRE)) return 0;
  void *made = NULL;
  int failed = make(&made);
  if (!failed) __atomic_store_n(handle, made, __ATOMIC_RELEASE);
  return failed;
}

/* Writes a message in which {0}, {1}, ... stand for numbers, and {{ and }} for braces. */
static void format(char *out, size_t room, const char *text, const Value *numbers, int32_t count) {
  size_t used = 0;
  while (*text && used + 1 < room) {
    if ((text[0] == '{' && text[1] == '{') || (text[0] == '}' && text[1] == '}')) {
      out[used++] = text[0];
      text += 2;
    } else if (text[0] == '{' && strchr(text, '}')) {
      long at = strtol(text + 1, NULL, 10);
      long long number = at >= 0 && at < count ? (long long)numbers[at].value.integer : 0;
      int written = snprintf(out + used, room - used, "%lld", number);
      used = used + (size_t)written < room ? used + (size_t)written : room - 1;
      text = strchr(text, '}') + 1;
    } else {
      out[used++] = *text++;
    }
  }
  out[used] = 0;
}

int ingot_call(void *function, Value *arguments, int32_t count, Value *result) {
  result->kind = VALUE_NONE;
  result->value.integer = 0;
  if (function != &refuse_function || count < 1 || arguments[0].kind != VALUE_TEXT) {
    raise_message("the code calls a function that the runtime does not have");
    return -1;
  }
  char message[LONGEST_MESSAGE];
  format(message, sizeof message, arguments[0].value.text, arguments + 1, count - 1);
  raise_message(message);
  return -1;
}

void ingot_raise_parts(const char *kind, const char **parts, int32_t count) {
  (void)kind;
  char message[LONGEST_MESSAGE] = "";
  size_t used = 0;
  for (int32_t i = 0; i < count && used + 1 < sizeof message; i++) {
    used += (size_t)snprintf(message + used, sizeof message - used, "%s", parts[i] ? parts[i] : "");
  }
  raise_message(message);
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int is_guarded(const Context *context) { return context->arena.flags & ARENA_GUARDED; }

/* Gives back the guarded blocks that an execution has left; returns whether one was written around. */
static int give_guarded(Context *context) {
  int written = 0;
  for (int32_t i = 0; i < context->storage_count; i++) {
    if (context->storages[i].start && context->storages[i].bytes) {
      written |= ingot_arena_give(&context->arena, context->storages[i].start,
                                  context->storages[i].bytes);
    }
    context->storages[i].start = NULL;
  }
  return written;
}

Context *ingot_context_create(const Program *program) {
  int64_t sizes = 0;
  for (int32_t i = 0; i < program->tensor_count; i++) sizes += program->ranks[i];
  /* One block of memory: the parts one behind the other, each aligned. */
  size_t parts[] = {
      sizeof(Context),
      sizeof(Tensor) * (size_t)program->tensor_count,
      sizeof(int64_t) * (size_t)sizes,
      sizeof(int64_t) * (size_t)(program->slot_count + 1),
      sizeof(((Context *)0)->storages[0]) * (size_t)program->storage_count,
      sizeof(Value) * (size_t)program->most_arguments,
      (size_t)program->scratch_bytes,
  };
  char *starts[sizeof parts / sizeof *parts];
  size_t total = 0;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    starts[i] = (char *)total;
    total += (parts[i] + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }
  char *memory = aligned_alloc(ALIGNMENT, total);
  if (!memory) return NULL;
  memset(memory, 0, total);
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) starts[i] = memory + (size_t)starts[i];
  Context *context = (Context *)memory;
  context->tensors = (Tensor *)starts[1];
  int64_t *shape = (int64_t *)starts[2];
  for (int32_t i = 0; i < program->tensor_count; i++) {
    context->tensors[i].device.type = CPU;
    context->tensors[i].rank = program->ranks[i];
    context->tensors[i].dtype.lanes = 1;
    context->tensors[i].shape = shape;
    shape += program->ranks[i];
  }
  context->slots = (int64_t *)starts[3];
  context->storages = (void *)starts[4];
  context->arguments = (Value *)starts[5];
  context->scratch = starts[6];
  context->kernel_count = program->kernel_count;
  context->storage_count = program->storage_count;
  context->crew.owner = context;
  context->crew.threads = 1;
  return context;
}

void ingot_context_destroy(Context *context) {
  if (is_guarded(context)) give_guarded(context);
  ingot_arena_release(&context->arena);
  free(context);
}

static void note(Context *context, int64_t kernel, int64_t start) {
  if (context->events && context->event_count < context->event_room) {
    context->events[context->event_count++] = (Event){kernel, start, now()};
  }
}

static int64_t size_of(const Context *context, const int64_t *word) {
  return word[0] ? context->slots[word[1]] : word[1];
}

static void set_sizes(Context *context, Tensor *tensor, const int64_t *word) {
  for (int32_t axis = 0; axis < tensor->rank; axis++) {
    tensor->shape[axis] = size_of(context, word + 2 * axis);
  }
}

static int call(const Program *program, Context *context, const int64_t *word) {
  int32_t count = (int32_t)word[1];
  Value *arguments = context->arguments;
  Tensor slots = {context->slots, {CPU, 0}, 1, {0, 64, 1}, NULL, NULL, 0};
  int64_t slot_count = program->slot_count;
  slots.shape = &slot_count;
  for (int32_t i = 0; i < count; i++) {
    int64_t kind = word[2 + 2 * i], given = word[3 + 2 * i];
    arguments[i].padding = 0;
    arguments[i].kind = VALUE_INTEGER;
    if (kind == ARGUMENT_TENSOR) {
      arguments[i].kind = VALUE_TENSOR;
      arguments[i].value.pointer = &context->tensors[given];
    } else if (kind == ARGUMENT_SLOTS) {
      arguments[i].kind = VALUE_TENSOR;
      arguments[i].value.pointer = &slots;
    } else if (kind == ARGUMENT_REAL) {
      arguments[i].kind = VALUE_REAL;
      memcpy(&arguments[i].value.real, &given, sizeof given);
    } else {
      arguments[i].value.integer = kind == ARGUMENT_SLOT ? context->slots[given] : given;
    }
  }
  Value result = {VALUE_NONE, 0, {0}};
  int64_t start = context->events ? now() : 0;
  int failed = program->kernels[word[0]](NULL, arguments, count, &result);
  note(context, word[0], start);
  if (context->error_count) return STATUS_REFUSED;
  return failed ? STATUS_KERNEL_FAILED : STATUS_DONE;
}

static int status_of(Context *context, int failure) {
  if (failure == ARENA_BEYOND_LIMIT) return fail(context, STATUS_BEYOND_LIMIT, "");
  return failure ? fail(context, STATUS_NO_MEMORY, "") : STATUS_DONE;
}

static int take(Context *context, int64_t storage, int64_t bytes) {
  char *start = NULL;
  int failure = ingot_arena_take(&context->arena, bytes, &start);
  if (failure) return status_of(context, failure);
  context->storages[storage].start = start;
  context->storages[storage].bytes = bytes;
  return STATUS_DONE;
}

static int give(Context *context, int64_t storage) {
  char *start = context->storages[storage].start;
  if (!start) return STATUS_DONE; /* of a branch that was not taken */
  context->storages[storage].start = NULL;
  if (ingot_arena_give(&context->arena, start, context->storages[storage].bytes)) {
    return fail(context, STATUS_WRITTEN_OUTSIDE, "memory outside of a tensor was written");
  }
  return STATUS_DONE;
}

static int is_zero(const Tensor *tensor) {
  static const char zeros[16];
  return memcmp(tensor->data, zeros, tensor->dtype.bits >= 8 ? tensor->dtype.bits / 8 : 1) == 0;
}

static int run_region(Context *context, const int64_t *word, int64_t *used) {
  enum { MOST = 256 };
  Tensor *tensors[MOST];
  int32_t inputs = (int32_t)word[1], outputs = (int32_t)word[2];
  if (inputs + outputs > MOST) return fail(context, STATUS_DAMAGED, "");
  for (int32_t i = 0; i < inputs; i++) tensors[i] = &context->tensors[word[3 + i]];
  for (int32_t i = 0; i < outputs; i++) {
    const int64_t *each = word + 3 + inputs + 4 * i;
    Tensor *tensor = &context->tensors[each[0]];
    tensor->dtype.code = (uint8_t)each[1];
    tensor->dtype.bits = (uint8_t)each[2];
    tensor->rank = (int32_t)each[3];
    tensors[inputs + i] = tensor;
  }
  *used = 3 + inputs + 4 * outputs;
  Crew *crew = ingot_crew;
  ingot_crew = NULL;
  int64_t start = context->events ? now() : 0;
  int failed = context->call_region((int32_t)word[0], inputs, tensors, outputs, tensors + inputs);
  ingot_crew = crew;
  note(context, context->kernel_count + word[0], start);
  return failed ? fail(context, STATUS_REGION_FAILED, "") : STATUS_DONE;
}

static int mismatch(Context *context, int64_t stated, int64_t actual) {
  snprintf(context->message, sizeof context->message,
           "sizes do not fit each other: %lld where %lld is due", (long long)actual,
           (long long)stated);
  return STATUS_REFUSED;
}

/* Goes through the program; where it only plans, up to where sizes depend on data. */
static int go(const Program *program, Context *context, int planning) {
  const int64_t *words = program->words;
  Tensor *tensors = context->tensors;
  int64_t at = 0, used = 0;
  for (;;) {
    const int64_t *word = words + at + 1;
    int status = STATUS_DONE;
    Tensor *tensor;
    switch (words[at]) {
      case END:
        context->planned_whole |= planning;
        return STATUS_DONE;
      case CALL:
        if (!planning) status = call(program, context, word);
        at += 3 + 2 * word[1];
        break;
      case SIZE_CALL:
        status = call(program, context, word);
        at += 3 + 2 * word[1];
        break;
      case OUTPUT:
        if (planning || context->outputs[word[1]]) {
          context->storages[word[0]].start = planning ? NULL : context->outputs[word[1]];
          context->storages[word[0]].bytes = 0;
        } else {
          status = take(context, word[0], size_of(context, word + 2));
        }
        at += 5;
        break;
      case STORAGE:
        status = take(context, word[0], size_of(context, word + 1));
        at += 4;
        break;
      case SCRATCH:
        context->storages[word[0]].start = context->scratch + word[1];
        if (!planning && is_guarded(context)) status = take(context, word[0], word[2]);
        at += 4;
        break;
      case FREE:
        status = give(context, word[0]);
        at += 2;
        break;
      case TENSOR:
        tensor = &tensors[word[0]];
        tensor->data = context->storages[word[1]].start + word[2];
        tensor->dtype.code = (uint8_t)word[3];
        tensor->dtype.bits = (uint8_t)word[4];
        set_sizes(context, tensor, word + 6);
        at += 7 + 2 * word[5];
        break;
      case VIEW:
        tensor = &tensors[word[0]];
        tensor->data = tensors[word[1]].data;
        tensor->dtype.code = (uint8_t)word[2];
        tensor->dtype.bits = (uint8_t)word[3];
        set_sizes(context, tensor, word + 5);
        at += 6 + 2 * word[4];
        break;
      case ALIAS:
        tensor = &tensors[word[0]];
        tensor->data = tensors[word[1]].data;
        tensor->dtype = tensors[word[1]].dtype;
        tensor->rank = tensors[word[1]].rank;
        memcpy(tensor->shape, tensors[word[1]].shape, sizeof(int64_t) * (size_t)tensor->rank);
        at += 3;
        break;
      case DIMENSION:
        context->slots[word[0]] = tensors[word[1]].shape[word[2]];
        at += 4;
        break;
      case COPY:
        context->slots[word[0]] = size_of(context, word + 1);
        at += 4;
        break;
      case MATCH: {
        int64_t stated = size_of(context, word), actual = size_of(context, word + 2);
        if (stated != actual) status = mismatch(context, stated, actual);
        at += 5;
        break;
      }
      case READ:
        memcpy(context->slots + word[2], tensors[word[0]].data, sizeof(int64_t) * (size_t)word[1]);
        at += 4;
        break;
      case WRITE:
        for (int64_t i = 0; i < word[1]; i++) {
          ((int64_t *)tensors[word[0]].data)[i] = size_of(context, word + 2 + 2 * i);
        }
        at += 3 + 2 * word[1];
        break;
      case UNLESS:
        at = is_zero(&tensors[word[0]]) ? word[1] : at + 3;
        break;
      case JUMP:
        at = word[0];
        break;
      case REGION:
        status = run_region(context, word, &used);
        at += 1 + used;
        break;
      case RANK:
        if (tensors[word[0]].rank != word[1]) status = mismatch(context, word[1], tensors[word[0]].rank);
        at += 3;
        break;
      case DATA:
        if (planning) return STATUS_DONE;
        at += 1;
        break;
      default:
        return fail(context, STATUS_DAMAGED, "");
    }
    if (status) return status;
  }
}

static void begin(Context *context, const Program *program, int planning) {
  if (is_guarded(context)) give_guarded(context);
  ingot_arena_begin(&context->arena, planning);
  context->error_count = 0;
  context->event_count = 0;
  context->message[0] = 0;
  for (int32_t i = 0; i < program->storage_count; i++) context->storages[i].start = NULL;
}

/* Has errors of kernels, and their loops, belong to a context. */
static int go_as(const Program *program, Context *context, int planning) {
  if (context->crew.threads > 1) {
    /* Where a fork has left no workers, they start again; with fewer it is slower, not wrong. */
    ingot_pool_grow(context->crew.pool, context->crew.threads - 1);
  }
  Crew *outer = ingot_crew;
  Context *outer_context = executing;
  ingot_crew = &context->crew;
  executing = context;
  int status = go(program, context, planning);
  ingot_crew = outer;
  executing = outer_context;
  return status;
}

/* Gives memory back that has long not been needed. */
static void shrink(Context *context) {
  int64_t mapped = context->arena.mapped;
  if (mapped <= SMALLEST_KEPT || 2 * context->arena.highest > mapped) {
    context->small_runs = 0;
  } else if (++context->small_runs == RUNS_UNTIL_SHRUNK) {
    ingot_arena_release(&context->arena);
    context->small_runs = 0;
  }
}

int ingot_plan(const Program *program, Context *context, const int64_t *shapes) {
  for (int32_t i = 0; i < program->input_count; i++) {
    Tensor *tensor = &context->tensors[i];
    memcpy(tensor->shape, shapes, sizeof(int64_t) * (size_t)tensor->rank);
    shapes += tensor->rank;
  }
  begin(context, program, 1);
  context->planned_whole = 0;
  int status = go_as(program, context, 1);
  context->need = context->arena.highest;
  return status;
}

static void bind_caller(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  sched_setaffinity(0, sizeof set, &set);
}

int ingot_prepare(Context *context) {
  int64_t room = context->need;
  if (!context->planned_whole && context->arena.mapped > room) room = context->arena.mapped;
  return status_of(context, ingot_arena_reserve(&context->arena, room));
}

int ingot_execute(const Program *program, Context *context, void *const *pointers) {
  int status = ingot_prepare(context);
  if (status) return status;
  for (int32_t i = 0; i < program->input_count; i++) context->tensors[i].data = pointers[i];
  context->outputs = (char *const *)pointers + program->input_count;
  begin(context, program, 0);
  cpu_set_t before;
  int bound = context->caller_core >= 0 && !sched_getaffinity(0, sizeof before, &before);
  if (bound) bind_caller(context->caller_core);
  status = go_as(program, context, 0);
  if (bound) sched_setaffinity(0, sizeof before, &before);
  shrink(context);
  return status;
}

void ingot_context_configure(Context *context, const Settings *settings) {
  context->crew.pool = settings->pool;
  context->crew.threads = settings->threads;
  context->arena.flags = settings->arena_flags;
  context->arena.limit = settings->memory_limit;
  context->call_region = settings->call_region;
  context->caller_core = settings->caller_core;
}

Tensor *ingot_context_tensor(Context *context, int32_t number) { return &context->tensors[number]; }

void ingot_context_time(Context *context, Event *events, int32_t room) {
  context->events = events;
  context->event_room = room;
}

void ingot_context_figures(const Context *context, Figures *out) {
  out->need = context->need;
  out->mapped = context->arena.mapped;
  out->planned_whole = context->planned_whole;
  out->event_count = context->event_count;
}

int32_t ingot_version(void) { return INGOT_VERSION; }

const char *ingot_context_message(const Context *context) { return context->message; }
