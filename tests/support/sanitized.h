/* sanitized.h - whether a test's program is built with a sanitizer. Sanitizers look at memory
 * and are slow: statistics are of fewer samples there, and what a training learns is left to the
 * plain build, while a few of its steps are made in both. */
#ifndef SANITIZED_H
#define SANITIZED_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#endif
