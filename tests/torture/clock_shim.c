/* Makes a program believe that the wall clock stands elsewhere: preloaded, it adds an offset to CLOCK_REALTIME.
   The offset, in milliseconds, is the 64-bit number at the start of the file named by TORTURE_CLOCK, which is mapped
   and so can be moved while the program runs. Other clocks are left alone. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *offset_ms;

__attribute__((constructor)) static void map_offset(void) {
  const char *path = getenv("TORTURE_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file >= 0) {
    void *mapped = mmap(0, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) offset_ms = mapped;
    close(file);
  }
}

/* The system call itself: whatever the C library would answer from would be this very function. */
static void wall_clock(struct timespec *at) {
  syscall(SYS_clock_gettime, CLOCK_REALTIME, at);
  int64_t more = offset_ms ? *offset_ms : 0;
  at->tv_sec += more / 1000;
  at->tv_nsec += (more % 1000) * 1000000;
  if (at->tv_nsec >= 1000000000) { at->tv_nsec -= 1000000000; at->tv_sec++; }
  if (at->tv_nsec < 0) { at->tv_nsec += 1000000000; at->tv_sec--; }
}

int clock_gettime(clockid_t clock, struct timespec *at) {
  if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) return (int)syscall(SYS_clock_gettime, clock, at);
  wall_clock(at);
  return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  (void)zone;
  struct timespec now;
  wall_clock(&now);
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec now;
  wall_clock(&now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
