/* A stand-in for libcuda.so.1 on host memory, for tests on machines without a GPU.
 *
 * Device memory is host memory. A stream is a queue that is worked off when somebody waits for it
 * and not before, so that who forgets to wait reads old data. A call without a current context
 * fails as on a device. Kernels do not exist: work comes by cuLaunchHostFunc. What pycuda links to
 * and this file lacks is generated beside it and answers "not supported".
 *
 * Environment, read at each call: DRIVER_DOUBLE_NO_DEVICE, DRIVER_DOUBLE_VERSION (13000),
 * DRIVER_DOUBLE_CAPABILITY (90), DRIVER_DOUBLE_MEMORY (bytes of device memory),
 * DRIVER_DOUBLE_NO_CAPTURE, DRIVER_DOUBLE_DELAY_US (before a stream's work),
 * DRIVER_DOUBLE_LOSE_AFTER (waits after which the device is lost for good).
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
  OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101,
  INVALID_CONTEXT = 201, ILLEGAL_STATE = 401, NOT_READY = 600, ILLEGAL_ADDRESS = 700,
  NOT_SUPPORTED = 801, CAPTURE_UNSUPPORTED = 900,
};
enum { COPY, FILL, RECORD, CALL };

typedef struct stream stream;
typedef struct { int pending; double at_ms; stream *on; } event;
typedef struct op {
  struct op *next; int kind; void *to; const void *from; size_t size; unsigned char value;
} op;
typedef struct { op *head, **tail; } list;
/* `queue` under QUEUES, which is never held while work runs: it may want Python's lock. `busy`
 * makes one thread at a time work the queue off. */
struct stream { list queue; list *capture; pthread_mutex_t busy; };

static pthread_mutex_t QUEUES = PTHREAD_MUTEX_INITIALIZER;
static stream DEFAULT = {{0, &DEFAULT.queue.head}, 0, PTHREAD_MUTEX_INITIALIZER};
static _Atomic int64_t busy_ns, waits, launches, device_bytes, pinned_bytes, live[6];
enum { STREAMS, EVENTS, GRAPHS, EXECUTABLES, BUFFERS, PINNED };
static _Atomic int lost, context_flags, context_users;

static int64_t number(const char *name, int64_t otherwise) {
  const char *said = getenv(name);
  return said && *said ? atoll(said) : otherwise;
}
static int64_t now_ns(void) {
  struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* What tests ask. */
int64_t driver_double_busy_ns(void) { return busy_ns; }
int64_t driver_double_waits(void) { return waits; }
int64_t driver_double_launches(void) { return launches; }
int64_t driver_double_live(int what) { return what < 6 ? live[what] : what == 6 ? device_bytes : pinned_bytes; }
int driver_double_context_flags(void) { return context_flags; }
void driver_double_lose(int code) { lost = code; }

/* --- contexts: one, the primary */
static _Thread_local void *stack[32];
static _Thread_local int depth;
static char primary;
#define ALIVE if (lost) return lost
#define CURRENT ALIVE; if (!depth || !stack[depth - 1]) return INVALID_CONTEXT

int cuInit(unsigned flags) { return number("DRIVER_DOUBLE_NO_DEVICE", 0) ? NO_DEVICE : OK; }
int cuDriverGetVersion(int *v) { *v = (int)number("DRIVER_DOUBLE_VERSION", 13000); return OK; }
int cuDeviceGetCount(int *n) { *n = !number("DRIVER_DOUBLE_NO_DEVICE", 0); return OK; }
int cuDeviceGet(int *d, int i) { *d = 0; return i ? INVALID_DEVICE : OK; }
int cuDeviceGetName(char *b, int n, int d) { snprintf(b, n, "driver double"); return OK; }
int cuDeviceGetPCIBusId(char *b, int n, int d) { snprintf(b, n, "0000:00:00.0"); return OK; }
int cuDeviceTotalMem_v2(size_t *b, int d) { *b = number("DRIVER_DOUBLE_MEMORY", 8ll << 30); return OK; }
int cuDeviceComputeCapability(int *a, int *b, int d) {
  int c = (int)number("DRIVER_DOUBLE_CAPABILITY", 90); *a = c / 10; *b = c % 10; return OK;
}
int cuDeviceGetAttribute(int *p, int what, int d) {
  int c = (int)number("DRIVER_DOUBLE_CAPABILITY", 90);
  *p = what == 75 ? c / 10 : what == 76 ? c % 10 : what == 41 || what == 19 ? 1 : 1024;
  return OK;
}
int cuCtxCreate_v4(void **c, void *p, unsigned f, int d) { *c = &primary; stack[depth++] = *c; return OK; }
int cuDevicePrimaryCtxRetain(void **c, int d) { ALIVE; *c = &primary; context_users++; return OK; }
int cuDevicePrimaryCtxRelease_v2(int d) { context_users--; return OK; }
int cuDevicePrimaryCtxSetFlags_v2(int d, unsigned f) { context_flags = (int)f; return OK; }
int cuDevicePrimaryCtxGetState(int d, unsigned *f, int *a) { *f = context_flags; *a = context_users > 0; return OK; }
int cuCtxAttach(void **c, unsigned f) { *c = &primary; return OK; }
int cuCtxDetach(void *c) { if (depth) depth--; return OK; }
int cuCtxDestroy_v2(void *c) { return OK; }
int cuCtxGetCurrent(void **c) { *c = depth ? stack[depth - 1] : 0; return OK; }
int cuCtxSetCurrent(void *c) { ALIVE; if (depth) stack[depth - 1] = c; else if (c) stack[depth++] = c; return OK; }
int cuCtxPushCurrent_v2(void *c) { if (depth == 32) return INVALID_VALUE; stack[depth++] = c; return OK; }
int cuCtxPopCurrent_v2(void **c) { if (!depth) return INVALID_CONTEXT; *c = stack[--depth]; return OK; }
int cuCtxGetDevice(int *d) { CURRENT; *d = 0; return OK; }
int cuGetErrorName(int e, const char **s) { *s = "CUDA_ERROR"; return OK; }
int cuGetErrorString(int e, const char **s) {
  *s = e == NO_DEVICE ? "no CUDA-capable device is detected" : e == OUT_OF_MEMORY ? "out of memory"
     : e == INVALID_CONTEXT ? "invalid device context" : e == ILLEGAL_ADDRESS
     ? "an illegal memory access was encountered" : "error of the driver double";
  return OK;
}

/* --- queues */
static stream *of(void *s) { return (uintptr_t)s > 2 ? s : &DEFAULT; }
static void put(list *l, op *o) { o->next = 0; *l->tail = o; l->tail = &o->next; }
static int queue(void *s, op o) {
  op *copy = malloc(sizeof *copy); *copy = o; stream *q = of(s);
  pthread_mutex_lock(&QUEUES); put(q->capture ? q->capture : &q->queue, copy); pthread_mutex_unlock(&QUEUES);
  return OK;
}
static void run(const op *o) {
  if (o->kind == COPY) memmove(o->to, o->from, o->size);
  else if (o->kind == FILL) memset(o->to, o->value, o->size);
  else if (o->kind == RECORD) { event *e = o->to; e->at_ms = now_ns() / 1e6; e->pending = 0; }
  else ((void (*)(void *))o->to)((void *)o->from);
}
static void work_off(stream *q) {
  pthread_mutex_lock(&q->busy);
  int64_t started = now_ns(), delay = number("DRIVER_DOUBLE_DELAY_US", 0);
  if (delay && q->queue.head) usleep(delay);
  for (;;) {
    pthread_mutex_lock(&QUEUES);
    op *o = q->queue.head;
    if (o && !(q->queue.head = o->next)) q->queue.tail = &q->queue.head;
    pthread_mutex_unlock(&QUEUES);
    if (!o) break;
    run(o); free(o);
  }
  busy_ns += now_ns() - started;
  pthread_mutex_unlock(&q->busy);
}
static int wait_for(stream *q) {
  ALIVE;
  if (q->capture) return CAPTURE_UNSUPPORTED;
  int64_t after = number("DRIVER_DOUBLE_LOSE_AFTER", 0);
  if (after && waits + 1 > after) { lost = ILLEGAL_ADDRESS; return lost; }
  waits++; work_off(q); return OK;
}
int cuCtxSynchronize(void) { return wait_for(&DEFAULT); }
int cuLaunchHostFunc(void *s, void (*f)(void *), void *with) { CURRENT; return queue(s, (op){0, CALL, (void *)f, with}); }

/* --- graphs */
static int empty(list *l) { for (op *o = l->head, *n; o; o = n) { n = o->next; free(o); } free(l); return OK; }
static list *fresh(void) { list *l = calloc(1, sizeof *l); l->tail = &l->head; return l; }
int cuStreamBeginCapture_v2(void *s, int mode) {
  CURRENT; stream *q = of(s);
  if (!s || q->capture || number("DRIVER_DOUBLE_NO_CAPTURE", 0)) return CAPTURE_UNSUPPORTED;
  q->capture = fresh(); return OK;
}
int cuStreamIsCapturing(void *s, int *status) { *status = of(s)->capture != 0; return OK; }
int cuStreamEndCapture(void *s, void **g) {
  stream *q = of(s); if (!q->capture) return ILLEGAL_STATE;
  *g = q->capture; q->capture = 0; live[GRAPHS]++; return OK;
}
int cuGraphInstantiateWithFlags(void **x, void *g, unsigned long long flags) {
  CURRENT; list *copy = fresh();
  for (op *o = ((list *)g)->head; o; o = o->next) { op *c = malloc(sizeof *c); *c = *o; put(copy, c); }
  *x = copy; live[EXECUTABLES]++; return OK;
}
int cuGraphLaunch(void *x, void *s) {
  CURRENT; launches++;
  for (op *o = ((list *)x)->head; o; o = o->next) queue(s, *o);
  return OK;
}
int cuGraphDestroy(void *g) { live[GRAPHS]--; return empty(g); }
int cuGraphExecDestroy(void *x) { live[EXECUTABLES]--; return empty(x); }

/* --- memory: each block has its size before it */
enum { ALIGN = 4096 };
static int take(void **p, size_t n, _Atomic int64_t *bytes, int what) {
  if (what == BUFFERS && *bytes + (int64_t)n > number("DRIVER_DOUBLE_MEMORY", 8ll << 30)) return OUT_OF_MEMORY;
  char *whole; if (posix_memalign((void **)&whole, ALIGN, n + ALIGN)) return OUT_OF_MEMORY;
  *(size_t *)whole = n; *p = whole + ALIGN; memset(*p, 0xCD, n); *bytes += n; live[what]++; return OK;
}
static int give(void *p, _Atomic int64_t *bytes, int what) {
  if (!p) return OK;
  char *whole = (char *)p - ALIGN; *bytes -= *(size_t *)whole; live[what]--; free(whole); return OK;
}
int cuMemAlloc_v2(void **p, size_t n) { CURRENT; return take(p, n, &device_bytes, BUFFERS); }
int cuMemFree_v2(void *p) { return give(p, &device_bytes, BUFFERS); }
int cuMemHostAlloc(void **p, size_t n, unsigned f) { CURRENT; return take(p, n, &pinned_bytes, PINNED); }
int cuMemFreeHost(void *p) { return give(p, &pinned_bytes, PINNED); }
int cuMemHostGetDevicePointer_v2(void **d, void *p, unsigned f) { *d = p; return OK; }
int cuMemHostGetFlags(unsigned *f, void *p) { *f = 0; return OK; }
int cuMemHostRegister_v2(void *p, size_t n, unsigned f) { return OK; }
int cuMemHostUnregister(void *p) { return OK; }
int cuMemGetInfo_v2(size_t *f, size_t *t) { cuDeviceTotalMem_v2(t, 0); *f = *t - device_bytes; return OK; }
static int copy_now(void *to, const void *from, size_t n) { CURRENT; int r = wait_for(&DEFAULT); if (!r) memmove(to, from, n); return r; }
int cuMemcpyHtoD_v2(void *d, const void *s, size_t n) { return copy_now(d, s, n); }
int cuMemcpyDtoH_v2(void *d, void *s, size_t n) { return copy_now(d, s, n); }
int cuMemcpyDtoD_v2(void *d, void *s, size_t n) { return copy_now(d, s, n); }
int cuMemcpyHtoDAsync_v2(void *d, const void *s, size_t n, void *q) { CURRENT; return queue(q, (op){0, COPY, d, s, n}); }
int cuMemcpyDtoHAsync_v2(void *d, void *s, size_t n, void *q) { CURRENT; return queue(q, (op){0, COPY, d, s, n}); }
int cuMemcpyDtoDAsync_v2(void *d, void *s, size_t n, void *q) { CURRENT; return queue(q, (op){0, COPY, d, s, n}); }
int cuMemsetD8_v2(void *d, unsigned char v, size_t n) { CURRENT; memset(d, v, n); return OK; }
int cuMemsetD8Async(void *d, unsigned char v, size_t n, void *q) { CURRENT; return queue(q, (op){0, FILL, d, 0, n, v}); }

/* --- streams and events */
int cuStreamCreate(void **p, unsigned flags) {
  CURRENT; stream *s = calloc(1, sizeof *s); s->queue.tail = &s->queue.head;
  pthread_mutex_init(&s->busy, 0); *p = s; live[STREAMS]++; return OK;
}
int cuStreamDestroy_v2(void *s) { work_off(s); live[STREAMS]--; free(s); return OK; }
int cuStreamSynchronize(void *s) { return wait_for(of(s)); }
int cuStreamQuery(void *s) {
  ALIVE; stream *q = of(s);
  if (!q->queue.head) return OK;
  work_off(q); return NOT_READY;
}
int cuStreamWaitEvent(void *s, void *e, unsigned flags) { return OK; }
int cuEventCreate(void **p, unsigned flags) { CURRENT; *p = calloc(1, sizeof(event)); live[EVENTS]++; return OK; }
int cuEventDestroy_v2(void *e) { live[EVENTS]--; free(e); return OK; }
int cuEventRecord(void *e, void *s) {
  CURRENT; event *v = e; v->pending = 1; v->on = of(s);
  return queue(s, (op){0, RECORD, e});
}
int cuEventSynchronize(void *e) { event *v = e; ALIVE; return v->pending ? wait_for(v->on) : OK; }
int cuEventQuery(void *e) {
  event *v = e; ALIVE;
  if (!v->pending) return OK;
  int r = wait_for(v->on); return r ? r : NOT_READY;
}
int cuEventElapsedTime_v2(float *ms, void *a, void *b) { *ms = (float)(((event *)b)->at_ms - ((event *)a)->at_ms); return OK; }
