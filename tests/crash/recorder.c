/* What a process does to the files of one directory, and what it promises: preloaded into a daemon under test.
 *
 *   RECORD_UNDER=directory    files below it are recorded
 *   RECORD_TO=file            appended to, an entry a call, in the order in which they happened:
 *
 *   kind  path length  other path length  inode  offset  length   path   other path   octets
 *    1         4               4            8       8       8                (host byte order, packed)
 *
 * C created   W written   T cut to `length`   S synced   D directory synced   R renamed   U unlinked
 * M directory made   P a reply beginning with "250 2." is about to leave
 *
 * A write is entered before a sync that covers it, a sync once it has succeeded, a promise before it is made.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int out = -1;

struct __attribute__((packed)) entry {
    char kind;
    uint32_t path, other;
    uint64_t inode, offset, length;
};

static int ours(const char *path) {
    const char *under = getenv("RECORD_UNDER");
    return under && !strncmp(path, under, strlen(under));
}

static void record(char kind, const char *path, const char *other, uint64_t inode, uint64_t offset,
                   uint64_t length, const void *octets) {
    int saved = errno;
    const char *to = getenv("RECORD_TO");
    struct entry entry = {kind, strlen(path), strlen(other), inode, offset, length};
    struct iovec pieces[4] = {{&entry, sizeof entry},
                              {(void *)path, entry.path},
                              {(void *)other, entry.other},
                              {(void *)octets, octets ? length : 0}};
    pthread_mutex_lock(&lock);
    if (out < 0)
        out = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (syscall(SYS_writev, out, pieces, 4) < 0)
        abort();
    pthread_mutex_unlock(&lock);
    errno = saved;
}

/* Whether it is a file or directory of ours; its path and inode. */
static int known(int fd, char *path, size_t room, struct stat *facts) {
    char link[64];
    int saved = errno, answer = 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, room - 1);
    if (length > 0) {
        path[length] = 0;
        answer = ours(path) && fstat(fd, facts) == 0;
    }
    errno = saved;
    return answer;
}

static void promised(const void *octets, size_t size) {
    if (size > 6 && !memcmp(octets, "250 2.", 6))
        record('P', "", "", 0, 0, size, octets);
}

static void written(int fd, const void *from, ssize_t size, off64_t at) {
    char path[4096];
    struct stat facts;
    if (size > 0 && known(fd, path, sizeof path, &facts))
        record('W', path, "", facts.st_ino, at, size, from);
}

ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at) {
    ssize_t answer = REAL(pwrite64)(fd, from, size, at);
    written(fd, from, answer, at);
    return answer;
}

ssize_t pwrite(int fd, const void *from, size_t size, off_t at) { return pwrite64(fd, from, size, at); }

ssize_t write(int fd, const void *from, size_t size) {
    promised(from, size);
    off64_t at = lseek64(fd, 0, SEEK_CUR);
    ssize_t answer = REAL(write)(fd, from, size);
    if (at >= 0)
        written(fd, from, answer, at);
    return answer;
}

ssize_t writev(int fd, const struct iovec *pieces, int count) {
    for (int n = 0; n < count; n++)
        promised(pieces[n].iov_base, pieces[n].iov_len);
    return REAL(writev)(fd, pieces, count);
}

ssize_t send(int fd, const void *from, size_t size, int flags) {
    promised(from, size);
    return REAL(send)(fd, from, size, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    for (size_t n = 0; n < message->msg_iovlen; n++)
        promised(message->msg_iov[n].iov_base, message->msg_iov[n].iov_len);
    return REAL(sendmsg)(fd, message, flags);
}

static void synced(int fd) {
    char path[4096];
    struct stat facts;
    if (known(fd, path, sizeof path, &facts))
        record(S_ISDIR(facts.st_mode) ? 'D' : 'S', path, "", facts.st_ino, 0, 0, NULL);
}

int fdatasync(int fd) {
    int answer = REAL(fdatasync)(fd);
    if (!answer)
        synced(fd);
    return answer;
}

int fsync(int fd) {
    int answer = REAL(fsync)(fd);
    if (!answer)
        synced(fd);
    return answer;
}

int ftruncate64(int fd, off64_t size) {
    char path[4096];
    struct stat facts;
    int answer = REAL(ftruncate64)(fd, size);
    if (!answer && known(fd, path, sizeof path, &facts))
        record('T', path, "", facts.st_ino, 0, size, NULL);
    return answer;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int rename(const char *from, const char *to) {
    int answer = REAL(rename)(from, to);
    if (!answer && ours(from))
        record('R', from, to, 0, 0, 0, NULL);
    return answer;
}

int unlink(const char *path) {
    int answer = REAL(unlink)(path);
    if (!answer && ours(path))
        record('U', path, "", 0, 0, 0, NULL);
    return answer;
}

int mkdir(const char *path, mode_t mode) {
    int answer = REAL(mkdir)(path, mode);
    if (!answer && ours(path))
        record('M', path, "", 0, 0, 0, NULL);
    return answer;
}

static int opened(const char *path, int flags, mode_t mode) {
    struct stat facts;
    int saved = errno, there = !(flags & O_CREAT) || access(path, F_OK) == 0;
    errno = saved;
    int fd = REAL(open64)(path, flags, mode);
    if (fd >= 0 && !there && ours(path) && fstat(fd, &facts) == 0)
        record('C', path, "", facts.st_ino, 0, 0, NULL);
    else if (fd >= 0 && flags & O_TRUNC && ours(path) && fstat(fd, &facts) == 0)
        record('T', path, "", facts.st_ino, 0, 0, NULL);
    return fd;
}

#define WITH_MODE                                                                                                      \
    va_list rest;                                                                                                      \
    va_start(rest, flags);                                                                                             \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                            \
    va_end(rest)

int open(const char *path, int flags, ...) {
    WITH_MODE;
    return opened(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    WITH_MODE;
    return opened(path, flags, mode);
}
