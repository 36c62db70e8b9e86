/* Calls of the operating system that fail when told to: preloaded into a daemon under test.
 *
 *   FAULTY=call:path:errno[:times]   while the file FAULTY_WHEN exists, calls of that name on a
 *                                    path that contains the text fail, so many times (0: always)
 *   FAULTY_NO_SYNC=1                 syncs do nothing and say that they did
 *   FAULTY_SLOW_SYNC=milliseconds    syncs take so much longer
 *   FAULTY_HOLD=path:file            syncs on a path that contains the text wait as long as there is the file
 *   FAULTY_CLOCK=file                the wall clock is wrong by the seconds in the file, if there is one
 *
 * Calls: pread, pwrite, fdatasync, fsync, rename, ftruncate, open, unlink.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int parsed, code, times, failed;
static char call_name[32], part[256];

static void parse(void) {
    const char *text = getenv("FAULTY");
    parsed = 1;
    times = 1;
    if (text && sscanf(text, "%31[^:]:%255[^:]:%d:%d", call_name, part, &code, &times) < 3)
        abort();
}

static int fails(const char *name, const char *path) {
    const char *when = getenv("FAULTY_WHEN");
    int answer = 0;
    pthread_mutex_lock(&lock);
    if (!parsed)
        parse();
    if (code && when && !strcmp(name, call_name) && strstr(path, part) && (!times || failed < times)
        && access(when, F_OK) == 0) {
        failed++;
        answer = 1;
    }
    pthread_mutex_unlock(&lock);
    if (answer)
        errno = code;
    return answer;
}

/* The path of a descriptor, with a mark behind it so that it can be asked to end somewhere. */
static int path_of(int fd, char *path, size_t size) {
    char link[64];
    int saved = errno;
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, size - 2);
    errno = saved;
    if (length < 0)
        return 0;
    path[length] = '$';
    path[length + 1] = 0;
    return 1;
}

static int fails_at(const char *name, int fd) {
    char path[4096];
    if (parsed && strcmp(name, call_name))
        return 0;
    return path_of(fd, path, sizeof path) && fails(name, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at) {
    return fails_at("pwrite", fd) ? -1 : REAL(pwrite64)(fd, from, size, at);
}

ssize_t pwrite(int fd, const void *from, size_t size, off_t at) {
    return fails_at("pwrite", fd) ? -1 : REAL(pwrite)(fd, from, size, at);
}

ssize_t pread64(int fd, void *to, size_t size, off64_t at) {
    return fails_at("pread", fd) ? -1 : REAL(pread64)(fd, to, size, at);
}

ssize_t pread(int fd, void *to, size_t size, off_t at) {
    return fails_at("pread", fd) ? -1 : REAL(pread)(fd, to, size, at);
}

static void be_held(int fd) {
    const char *text = getenv("FAULTY_HOLD"), *file = text ? strchr(text, ':') : NULL;
    char path[4096], held[256] = "";
    if (!file || !path_of(fd, path, sizeof path))
        return;
    strncat(held, text, file - text < 255 ? file - text : 255);
    while (strstr(path, held) && access(file + 1, F_OK) == 0)
        usleep(1000);
}

static void be_slow(void) {
    const char *text = getenv("FAULTY_SLOW_SYNC");
    if (text)
        usleep(atoi(text) * 1000);
}

int fdatasync(int fd) {
    if (fails_at("fdatasync", fd))
        return -1;
    be_slow();
    be_held(fd);
    return getenv("FAULTY_NO_SYNC") ? 0 : REAL(fdatasync)(fd);
}

int fsync(int fd) {
    if (fails_at("fsync", fd))
        return -1;
    be_slow();
    be_held(fd);
    return getenv("FAULTY_NO_SYNC") ? 0 : REAL(fsync)(fd);
}

int ftruncate(int fd, off_t size) { return fails_at("ftruncate", fd) ? -1 : REAL(ftruncate)(fd, size); }

int ftruncate64(int fd, off64_t size) { return fails_at("ftruncate", fd) ? -1 : REAL(ftruncate64)(fd, size); }

int rename(const char *from, const char *to) { return fails("rename", from) ? -1 : REAL(rename)(from, to); }

int renameat(int a, const char *from, int b, const char *to) {
    return fails("rename", from) ? -1 : REAL(renameat)(a, from, b, to);
}

int unlink(const char *path) { return fails("unlink", path) ? -1 : REAL(unlink)(path); }

static mode_t mode_of(int flags, va_list *rest) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(*rest, mode_t) : 0;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, &rest);
    va_end(rest);
    return fails("open", path) ? -1 : REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, &rest);
    va_end(rest);
    return fails("open", path) ? -1 : REAL(open64)(path, flags, mode);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int answer = syscall(SYS_clock_gettime, clock, now), fd;
    const char *path = getenv("FAULTY_CLOCK");
    char text[32] = "";
    if (answer || clock != CLOCK_REALTIME || !path)
        return answer;
    fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, text, sizeof text - 1) > 0)
            now->tv_sec += atol(text);
        close(fd);
    }
    return 0;
}
