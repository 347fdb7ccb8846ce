/* support_words.h - a run of a model of texts, without training: small networks with random
 * weights, which answer differently to every text. */
#ifndef VN_TEST_SUPPORT_WORDS_H
#define VN_TEST_SUPPORT_WORDS_H

enum { WORDS_LENGTH = 24, WORDS_WIDTH = 8, WORDS_SIDE = 8 };

/* Writes the run directory; pictures are of one channel, texts of WORDS_LENGTH tokens. */
void make_words_run(const char *folder);

#endif
