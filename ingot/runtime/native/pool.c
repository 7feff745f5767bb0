/* A loop is cut into tasks, which threads claim one by one: a thread that the system has put aside
 * holds nobody up, for the others take what it would have. The caller takes part, and a loop ends
 * at the latest when the caller has done all of it alone.
 *
 * A loop that is offered lies in one of a fixed number of places. A worker that enters counts itself
 * in first and then looks whether the place is still open, so that a caller which closes it and
 * waits until nobody is inside can use the place again: no memory is allocated, none is freed while
 * somebody may read it. */
#define _GNU_SOURCE
#include "pool.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "workspace.h"

#define PLACES 64       /* loops that are offered at once; beyond them a caller computes alone */
#define MOST_WORKERS 1024
#define CACHE_LINE 128  /* bytes; neighbouring lines are fetched in pairs */
#define WORKER_STACK (1 << 20)
#define FINER_PARTS 4    /* tasks for each thread, where threads are late */
#define LATE 50000       /* nanoseconds that the last thread may come after the caller */
#define FINER_LOOPS 256  /* so many loops are cut finer after one whose threads were late */
#define LOOKS_PER_CLOCK 32 /* a look takes 10 to 40 ns, reading the clock 20 */

typedef struct {
  _Alignas(CACHE_LINE) atomic_int open;   /* whether workers may enter */
  atomic_int inside;                      /* workers that have entered */
  _Alignas(CACHE_LINE) atomic_int next;   /* the next task */
  _Alignas(CACHE_LINE) atomic_int taken;  /* whether a caller has the place */
  TaskBody body;
  void *closure;
  int32_t count;
  int32_t helpers; /* at most so many workers inside */
  atomic_int failure;
  Crew *crew;
} Place;

struct Pool {
  Place places[PLACES];
  _Alignas(CACHE_LINE) atomic_int offers;   /* counts offers; sleepers wait for it to change */
  _Alignas(CACHE_LINE) atomic_int sleepers;
  atomic_int awake; /* workers that look for work */
  atomic_int open_places;
  atomic_int ending;
  atomic_int workers;
  pthread_mutex_t growing;
  pthread_t threads[MOST_WORKERS];
  int64_t spin; /* nanoseconds */
  int32_t core_count;
  int32_t *cores;
  Pool *following;
};

__thread Crew *ingot_crew;
static __thread int within_task; /* a loop within a task is the task's own */

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static Pool *all;
static pthread_once_t at_fork = PTHREAD_ONCE_INIT;

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#endif
}

static void sleep_while(atomic_int *word, int value) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake(atomic_int *word, int count) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static void compute(Place *place) {
  TaskGroup group = {NULL, place->count};
  within_task = 1;
  for (;;) {
    int task = atomic_fetch_add_explicit(&place->next, 1, memory_order_relaxed);
    if (task >= place->count) break;
    int failure = place->body(task, &group, place->closure);
    if (failure) atomic_store_explicit(&place->failure, failure, memory_order_relaxed);
  }
  within_task = 0;
}

/* Enters a place, where it is open and there is room, and computes what is left. */
static int help(Place *place) {
  if (!atomic_load_explicit(&place->open, memory_order_relaxed)) return 0;
  int inside = atomic_fetch_add(&place->inside, 1);
  int helped = 0;
  if (atomic_load(&place->open) && inside < place->helpers &&
      atomic_load_explicit(&place->next, memory_order_relaxed) < place->count) {
    ingot_crew = place->crew;
    compute(place);
    ingot_crew = NULL;
    helped = 1;
  }
  /* The last one out tells a caller that may be asleep. */
  if (atomic_fetch_sub(&place->inside, 1) == 1 && !atomic_load(&place->open)) {
    wake(&place->inside, 1);
  }
  return helped;
}

static int help_any(Pool *pool) {
  int helped = 0;
  for (int i = 0; i < PLACES && atomic_load_explicit(&pool->open_places, memory_order_relaxed); i++) {
    helped |= help(&pool->places[i]);
  }
  return helped;
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Looks at a number for some time; returns whether it has changed.
 *
 * Whoever could change it may be waiting for this very processor: after the first looks it is offered
 * to others between looks, which costs nothing where there are none. */
static int changes(atomic_int *word, int value, int64_t nanoseconds) {
  int64_t end = 0;
  for (;;) {
    for (int i = 0; i < LOOKS_PER_CLOCK; i++) {
      if (atomic_load_explicit(word, memory_order_acquire) != value) return 1;
      relax();
    }
    int64_t time = now();
    if (!end) end = time + nanoseconds;
    if (time >= end) return 0;
    sched_yield();
  }
}

static void *work(void *argument) {
  Pool *pool = argument;
  while (!atomic_load(&pool->ending)) {
    int seen = atomic_load(&pool->offers);
    if (help_any(pool)) continue;
    atomic_fetch_add(&pool->awake, 1);
    int changed = changes(&pool->offers, seen, pool->spin);
    atomic_fetch_sub(&pool->awake, 1);
    if (changed) continue;
    atomic_fetch_add(&pool->sleepers, 1);
    if (!atomic_load(&pool->ending)) sleep_while(&pool->offers, seen);
    atomic_fetch_sub(&pool->sleepers, 1);
  }
  ingot_workspace_release();
  return NULL;
}

/* In the child of a fork there are no workers: what their last loops left is put in order. */
static void forget_workers(void) {
  pthread_mutex_init(&all_lock, NULL);
  for (Pool *pool = all; pool; pool = pool->following) {
    memset(pool->places, 0, sizeof pool->places);
    atomic_store(&pool->sleepers, 0);
    atomic_store(&pool->awake, 0);
    atomic_store(&pool->open_places, 0);
    atomic_store(&pool->workers, 0);
    pthread_mutex_init(&pool->growing, NULL);
  }
}

static void prepare_for_forks(void) { pthread_atfork(NULL, NULL, forget_workers); }

Pool *ingot_pool_create(const int32_t *cores, int32_t count, int64_t spin) {
  pthread_once(&at_fork, prepare_for_forks);
  Pool *pool = aligned_alloc(CACHE_LINE, (sizeof(Pool) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
  if (!pool) return NULL;
  memset(pool, 0, sizeof *pool);
  pthread_mutex_init(&pool->growing, NULL);
  pool->spin = spin;
  if (count > 0) {
    pool->cores = malloc(sizeof(int32_t) * (size_t)count);
    if (!pool->cores) {
      free(pool);
      return NULL;
    }
    memcpy(pool->cores, cores, sizeof(int32_t) * (size_t)count);
    pool->core_count = count;
  }
  pthread_mutex_lock(&all_lock);
  pool->following = all;
  all = pool;
  pthread_mutex_unlock(&all_lock);
  return pool;
}

void ingot_pool_destroy(Pool *pool) {
  pthread_mutex_lock(&all_lock);
  Pool **link = &all;
  while (*link && *link != pool) link = &(*link)->following;
  if (*link) *link = pool->following;
  pthread_mutex_unlock(&all_lock);
  atomic_store(&pool->ending, 1);
  atomic_fetch_add(&pool->offers, 1);
  wake(&pool->offers, MOST_WORKERS);
  for (int i = 0; i < atomic_load(&pool->workers); i++) pthread_join(pool->threads[i], NULL);
  free(pool->cores);
  free(pool);
}

/* Binds a thread that is about to start to its core. */
static void bind(const Pool *pool, int worker, pthread_attr_t *attributes) {
  if (!pool->core_count) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(pool->cores[worker % pool->core_count], &set);
  pthread_attr_setaffinity_np(attributes, sizeof set, &set);
}

int32_t ingot_pool_grow(Pool *pool, int32_t workers) {
  if (workers > MOST_WORKERS) workers = MOST_WORKERS;
  if (atomic_load_explicit(&pool->workers, memory_order_acquire) >= workers) return workers;
  pthread_mutex_lock(&pool->growing);
  int have = atomic_load(&pool->workers);
  while (have < workers) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, WORKER_STACK);
    bind(pool, have + 1, &attributes); /* the caller has the first core */
    int failed = pthread_create(&pool->threads[have], &attributes, work, pool);
    pthread_attr_destroy(&attributes);
    if (failed) break;
    have++;
    atomic_store_explicit(&pool->workers, have, memory_order_release);
  }
  pthread_mutex_unlock(&pool->growing);
  return have;
}

static Place *take_place(Pool *pool) {
  for (int i = 0; i < PLACES; i++) {
    int no = 0;
    if (!atomic_load_explicit(&pool->places[i].taken, memory_order_relaxed) &&
        atomic_compare_exchange_strong(&pool->places[i].taken, &no, 1)) {
      return &pool->places[i];
    }
  }
  return NULL;
}

static int compute_alone(TaskBody body, void *closure, int count) {
  TaskGroup group = {NULL, count};
  int failure = 0;
  for (int task = 0; task < count; task++) {
    int failed = body(task, &group, closure);
    if (failed) failure = failed;
  }
  return failure;
}

/* Into how many tasks a loop is cut. Where threads have lately been late, other processes have the
 * processors, too: the more parts, the less a thread that is put aside holds back. */
static int task_count(const Crew *crew) {
  return crew->finer_loops > 0 ? crew->threads * FINER_PARTS : crew->threads;
}

/* Closes a place and waits until all that have entered it are out. */
static void close_place(Pool *pool, Place *place, Crew *crew) {
  atomic_store(&place->open, 0);
  atomic_fetch_sub(&pool->open_places, 1);
  if (crew->finer_loops > 0) crew->finer_loops--;
  int inside = atomic_load(&place->inside);
  if (!inside || changes(&place->inside, inside, LATE)) inside = atomic_load(&place->inside);
  if (inside) crew->finer_loops = FINER_LOOPS;
  while ((inside = atomic_load(&place->inside)) != 0) {
    if (!changes(&place->inside, inside, pool->spin)) sleep_while(&place->inside, inside);
  }
}

int ingot_parallel_launch(TaskBody body, void *closure, int count) {
  Crew *crew = ingot_crew;
  int threads = crew && !within_task ? crew->threads : 1;
  Pool *pool = threads > 1 ? crew->pool : NULL;
  Place *place = pool ? take_place(pool) : NULL;
  if (!place) return compute_alone(body, closure, count ? count : 1);
  place->body = body;
  place->closure = closure;
  place->count = count ? count : task_count(crew);
  place->helpers = threads - 1;
  place->crew = crew;
  atomic_store_explicit(&place->failure, 0, memory_order_relaxed);
  atomic_store_explicit(&place->next, 0, memory_order_relaxed);
  atomic_store(&place->open, 1);
  atomic_fetch_add(&pool->open_places, 1);
  atomic_fetch_add(&pool->offers, 1);
  int lacking = threads - 1 - atomic_load(&pool->awake);
  if (lacking > 0 && atomic_load(&pool->sleepers)) wake(&pool->offers, lacking);
  compute(place);
  close_place(pool, place, crew);
  int failure = atomic_load_explicit(&place->failure, memory_order_relaxed);
  atomic_store(&place->taken, 0);
  return failure;
}
